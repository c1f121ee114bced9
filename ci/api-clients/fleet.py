"""The main job of a program that works with the API, through the Python client that openapi-python-client generates.

Run by ci/api-test, which has generated the client as the package fedecks_client, with the address of the API, an API
token, and the id of a connected device that sends {"temperature": 21.5} every now and then.
"""

import base64
import io
import json
import sys
import time
from datetime import UTC, datetime, timedelta

from fedecks_client import AuthenticatedClient, Client
from fedecks_client.api.description import get_description
from fedecks_client.api.devices import get_device, list_devices, revoke_device
from fedecks_client.api.events import stream_events
from fedecks_client.api.history import get_history
from fedecks_client.api.messages import get_device_message, send_message, send_raw_message
from fedecks_client.models import (
    AcceptedMessage,
    DeviceMessage,
    DevicePage,
    DisconnectedEvent,
    EventKind,
    History,
    MessageEvent,
    Problem,
    RawSentEvent,
    RevokedEvent,
    SentEvent,
)
from fedecks_client.types import File

# How long anything may take, in seconds.
PATIENCE = 30


class Events:
    """The events of a stream, as they arrive."""

    MODELS = {
        "disconnected": DisconnectedEvent,
        "message": MessageEvent,
        "raw-sent": RawSentEvent,
        "revoked": RevokedEvent,
        "sent": SentEvent,
    }

    def __init__(self, response):
        assert response.status_code == 200, response.read()
        self.lines = response.iter_lines()
        self.deadline = time.monotonic() + PATIENCE

    def next(self, wanted, matches=lambda event: True):
        """The next event of this model that matches."""
        for line in self.lines:
            assert time.monotonic() < self.deadline, f"no {wanted.__name__} within {PATIENCE} s"
            if not line.startswith("data: "):
                continue
            data = json.loads(line.removeprefix("data: "))
            model = self.MODELS.get(data["kind"])
            event = model and model.from_dict(data)
            if isinstance(event, wanted) and matches(event):
                return event
        sys.exit("the event stream has ended")


def main():
    api, token, device = sys.argv[1:]

    # The description needs no token.
    description = get_description.sync(client=Client(base_url=api))
    assert description["openapi"].startswith("3.1"), description["openapi"]

    client = AuthenticatedClient(base_url=api, token=token, timeout=PATIENCE)

    page = list_devices.sync(client=client, search=device, connected=True)
    assert isinstance(page, DevicePage), page
    (found,) = page.devices
    assert found.id == device and found.connected, found
    age = datetime.now(UTC) - found.connected_since
    assert timedelta(0) <= age < timedelta(minutes=10), found.connected_since

    # The stream has no end, so it is read as it arrives.
    kinds = [EventKind.MESSAGE, EventKind.SENT, EventKind.RAW_SENT, EventKind.REVOKED, EventKind.DISCONNECTED]
    request = stream_events._get_kwargs(device=device, kind=kinds, heartbeat=1)
    with client.get_httpx_client().stream(**request) as response:
        events = Events(response)

        sent = send_message.sync(device, client=client, body={"fan": "on"})
        assert isinstance(sent, AcceptedMessage), sent
        event = events.next(SentEvent, lambda event: event.message_id == sent.id)
        assert event.message == {"fan": "on"}, event

        literal = send_message.sync(device, client=client, body={"$ref": "#/fan"}, literal=True)
        assert isinstance(literal, AcceptedMessage), literal
        events.next(SentEvent, lambda event: event.message_id == literal.id)

        raw = File(payload=io.BytesIO(b"\0python"))
        sent = send_raw_message.sync(device, client=client, body=raw)
        assert isinstance(sent, AcceptedMessage), sent
        event = events.next(RawSentEvent, lambda event: event.message_id == sent.id)
        assert base64.b64decode(event.bytes_) == b"\0python", event

        keep = {"client": client, "body": 1, "keep": True, "expires_in": 60, "idempotency_key": "python-1"}
        kept, repeated = send_message.sync(device, **keep), send_message.sync(device, **keep)
        assert isinstance(kept, AcceptedMessage) and kept.assurance == "kept", kept
        assert kept == repeated, repeated
        message = get_device_message.sync(device, kept.id, client=client)
        assert isinstance(message, DeviceMessage) and message.queued_at.tzinfo is not None, message

        event = events.next(MessageEvent)
        assert event.message == {"temperature": 21.5} and event.device == device, event
        assert event.time.tzinfo is not None, event

        history = get_history.sync(client=client)
        assert isinstance(history, History), history
        assert sum(history.messages) > 0 and sum(history.connects) > 0, history

        problem = get_device.sync("no-such-device", client=client)
        assert isinstance(problem, Problem) and problem.code == "device-not-found", problem

        revoked = revoke_device.sync_detailed(device, client=client)
        assert revoked.status_code == 204, revoked
        # In either order.
        events.next((DisconnectedEvent, RevokedEvent))
        events.next((DisconnectedEvent, RevokedEvent))

    print(f"python: listed {device}, sent to it, heard from it, read the history, and revoked it")


main()
