"""The real server on this machine, and its HTTP API."""

import http.client
import json
import os
import ssl
import subprocess
import time
from pathlib import Path

from board import Failed


class Cloud:
    """`fedecks-cloud serve` with a separate configuration, and the events of its devices."""

    def __init__(self, program: Path, folder: Path, port: int, authority: Path,
                 certificate: Path, key: Path):
        self._program, self._folder, self.port = program, folder, port
        self._trust = ssl.create_default_context(cafile=str(authority))
        self._log = (folder / "cloud.log").open("a")
        self._environment = os.environ | {"FEDECKS_CONFIG": str(folder / "cloud.toml")}
        self._serving = None
        self._token = None
        self._events = None
        self._settings = f"""
listen = "127.0.0.1:{port}"
secret_file = "{folder}/secret"
salt_file = "{folder}/salt"
data_dir = "{folder}/cloud"
[tls]
certificate = "{certificate}"
key = "{key}"
"""

    def configure(self, more: str) -> None:
        (self._folder / "cloud.toml").write_text(self._settings + more)

    def command(self, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [self._program, *arguments], env=self._environment,
            input=stdin, text=True, capture_output=True, timeout=60,
        )
        if done.returncode != 0:
            raise Failed(f"fedecks-cloud {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def start(self) -> None:
        ready = self._folder / "ready"
        ready.unlink(missing_ok=True)
        self._serving = subprocess.Popen(
            [self._program, "serve", "--ready-file", ready], env=self._environment,
            stdout=self._log, stderr=self._log,
        )
        end = time.monotonic() + 30
        while not ready.exists():
            if self._serving.poll() is not None or time.monotonic() > end:
                raise Failed(f"the cloud did not start, see {self._folder}/cloud.log")
            time.sleep(0.05)
        if self._token is None:
            added = self.command("token", "add", "test", "--role", "read", "--role", "send", "--role", "admin")
            self._token = next(line for line in added.splitlines() if line.startswith("fdk_"))
        # The server learns of a new token within a second.
        while (status := self.ask("GET", "/token", wanted=None)[0]) != 200:
            if time.monotonic() > end:
                raise Failed(f"the test's token is answered with {status}")
            time.sleep(0.1)
        self._follow()

    def kill(self) -> None:
        if self._serving is not None:
            self._serving.kill()
            self._serving.wait()

    def ask(self, method: str, path: str, body=None, wanted: int | None = 200):
        """Sends a request; returns the status and the JSON of the response."""
        connection = self._connect(30)
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if wanted is not None and answer.status != wanted:
            raise Failed(f"{method} {path} was answered with {answer.status}: {text.decode()}")
        return answer.status, json.loads(text) if text else None

    def _connect(self, patience: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", self.port, timeout=patience, context=self._trust)

    def _follow(self) -> None:
        connection = self._connect(60)
        connection.request("GET", "/api/v1/events", headers={"authorization": f"Bearer {self._token}"})
        self._events = connection.getresponse()
        if self._events.status != 200:
            raise Failed(f"the events were answered with {self._events.status}")

    def event(self, kind: str, within: float = 120) -> dict:
        """The next event of this kind, skipping others."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            # A comment comes every 15 seconds.
            line = self._events.readline().decode()
            if not line:
                raise Failed(f"the cloud ended before an event {kind!r}")
            if line.startswith("data: ") and (event := json.loads(line[6:]))["kind"] == kind:
                return event
        raise Failed(f"the cloud sent no event {kind!r} within {within:.0f} s")
