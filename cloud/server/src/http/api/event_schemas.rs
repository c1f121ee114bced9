//! Events and webhooks in the OpenAPI document. The JSON that is described here is made in `events/json.rs`.

use serde_json::{Map, Value, json};

use super::schemas::Schemas;
use crate::event_kind::EventKind;

/// A kind of event: the name of its schema, what it means, and what it has besides `id`, `time`, `kind` and
/// `device`.
struct Described {
    name: &'static str,
    about: &'static str,
    fields: Vec<(&'static str, Value)>,
}

/// What the body of a webhook is: an event of any kind.
pub(super) fn device_event(schemas: &mut Schemas) -> Value {
    let kinds = EventKind::ALL.iter().map(|kind| (kind.as_str(), event(*kind, schemas))).collect();
    let about = "Something that happened to a device. There may be more kinds in the future.";
    schemas.add("DeviceEvent", one_of(about, kinds))
}

/// What the data of a server-sent event is.
pub(super) fn stream_event(schemas: &mut Schemas) -> Value {
    let mut kinds: Vec<_> =
        EventKind::ALL.iter().map(|kind| (kind.as_str(), event(*kind, schemas))).collect();
    let gap = object(
        "Events are missing before the next one",
        vec![("id", event_id()), ("kind", json!({ "type": "string", "const": "gap" }))],
    );
    let heartbeat = object(
        "The stream is alive. Sent only if it was asked for",
        vec![("kind", json!({ "type": "string", "const": "heartbeat" }))],
    );
    kinds.push(("gap", schemas.add("GapEvent", gap)));
    kinds.push(("heartbeat", schemas.add("HeartbeatEvent", heartbeat)));
    let about = "The data of a server-sent event: what happened to a device, a gap, or a heartbeat. There may \
                 be more kinds in the future.";
    schemas.add("StreamEvent", one_of(about, kinds))
}

/// The webhooks of all kinds.
pub(super) fn webhooks(tag: &str, schemas: &mut Schemas) -> Value {
    device_event(schemas);
    let webhook = |kind: EventKind| {
        let Described { name, about, .. } = described(kind, schemas);
        let operation = json!({
            "operationId": format!("on{}", name.trim_end_matches("Event")),
            "tags": [tag],
            "summary": about,
            "description": "Delivered to the configured receivers that want this kind. Signed as Standard \
                            Webhooks describes it.",
            "security": [],
            "parameters": headers(),
            "requestBody": {
                "required": true,
                "content": { "application/json": { "schema": event(kind, schemas) } },
            },
            "responses": {
                "2XX": { "description": "The receiver has the event" },
                "410": { "description": "The receiver wants no more events until the server restarts" },
                "default": {
                    "description": "The event is delivered again later, with the same `webhook-id`; after \
                                    400, 413 or 422 three times in all. `Retry-After`, in seconds and up to \
                                    an hour, pauses all deliveries",
                },
            },
        });
        (kind.as_str().to_owned(), json!({ "post": operation }))
    };
    Value::Object(EventKind::ALL.iter().copied().map(webhook).collect())
}

fn headers() -> Value {
    let header = |name: &str, about: &str, schema: Value| json!({ "name": name, "in": "header", "required": true, "description": about, "schema": schema });
    json!([
        header(
            "webhook-id",
            "The event's id, the same at each attempt",
            json!({ "type": "string" })
        ),
        header(
            "webhook-timestamp",
            "When it was sent, in seconds since 1970-01-01 UTC",
            json!({ "type": "integer", "format": "int64" }),
        ),
        header(
            "webhook-signature",
            "`v1,` and the base64 of the HMAC-SHA256 of ID.TIMESTAMP.BODY",
            json!({ "type": "string" }),
        ),
        header(
            "fedecks-dropped-events",
            "How many events for the receiver were dropped so far: if it has risen, some are missing",
            json!({ "type": "integer", "format": "int64", "minimum": 0 }),
        ),
    ])
}

/// The schema of an event of this kind.
fn event(kind: EventKind, schemas: &mut Schemas) -> Value {
    let Described { name, about, fields } = described(kind, schemas);
    let device = schemas.device_id();
    let device = match kind {
        EventKind::Refused => json!({
            "description": "The device, unverified; null if the request named none",
            "oneOf": [device, { "type": "null" }],
        }),
        _ => device,
    };
    let common = [
        ("id", event_id()),
        ("time", json!({ "type": "string", "format": "date-time" })),
        ("kind", json!({ "type": "string", "const": kind.as_str() })),
        ("device", device),
    ];
    schemas.add(name, object(about, common.into_iter().chain(fields).collect()))
}

fn described(kind: EventKind, schemas: &mut Schemas) -> Described {
    let connection = || ("connection", text("The connection's name, in events and in the log"));
    let peer = || {
        (
            "peer",
            json!({
                "type": ["string", "null"],
                "description": "The address and port of the client; null if unknown",
            }),
        )
    };
    let by = || ("by", text("Who sent it: `token:` and the name of an API token"));
    let registered_by = || ("by", text(REGISTERED_BY));
    let address = || {
        let about = "The address of the device; null if unknown";
        ("address", json!({ "type": ["string", "null"], "description": about }))
    };
    let message_id = || ("message_id", message_id());
    let assurance = || ("assurance", assurance());
    let kept = || ("kept", kept());
    let mut message = || ("message", schemas.message());
    let bytes = || {
        (
            "bytes",
            json!({
                "type": "string",
                "format": "byte",
                "contentEncoding": "base64",
                "description": "In base64",
            }),
        )
    };
    let (name, about, fields) = match kind {
        EventKind::Connected => (
            "ConnectedEvent",
            "A device has connected. An older connection that it replaces has no `disconnected` event",
            vec![connection(), peer(), ("authenticated_by", text("`token` or `credentials`"))],
        ),
        EventKind::Disconnected => (
            "DisconnectedEvent",
            "A connection of a device has ended. The device may have a newer one: compare `connection`",
            vec![connection(), ("reason", text("For people"))],
        ),
        EventKind::Message => ("MessageEvent", "A device sent a message", vec![kept(), message()]),
        EventKind::RawMessage => ("RawMessageEvent", "A device sent bytes", vec![kept(), bytes()]),
        EventKind::Sent => (
            "SentEvent",
            "A message to a device was accepted through the API",
            vec![message_id(), by(), assurance(), message()],
        ),
        EventKind::RawSent => (
            "RawSentEvent",
            "Bytes to a device were accepted through the API",
            vec![message_id(), by(), assurance(), bytes()],
        ),
        EventKind::MessageSettled => (
            "MessageSettledEvent",
            "A kept message to a device has its final state",
            vec![message_id(), ("state", settled_state()), ("reason", drop_reason())],
        ),
        EventKind::Registered => (
            "RegisteredEvent",
            "A device was registered: its id is new, or an operator has allowed it to register again",
            vec![registered_by(), address()],
        ),
        EventKind::Returned => (
            "ReturnedEvent",
            "A device that had lost its token has come back with its claim or certificate. Its earlier tokens are \
             revoked",
            vec![registered_by(), address()],
        ),
        EventKind::Refused => (
            "RefusedEvent",
            "A connection was refused. 20 per second are reported, with a burst of 20",
            vec![
                ("reason", text("For programs, such as `bad-credentials`")),
                peer(),
                (
                    "by",
                    json!({
                        "type": ["string", "null"],
                        "description": "What it presented, unverified: `account:` and a name, or `claim:` and the id \
                                        of a claim; null if it presented neither",
                    }),
                ),
            ],
        ),
        EventKind::Revoked => ("RevokedEvent", "A device's tokens were revoked", vec![]),
        EventKind::Blocked => ("BlockedEvent", "A device was blocked", vec![]),
        EventKind::Unblocked => ("UnblockedEvent", "A device was unblocked", vec![]),
    };
    Described { name, about, fields }
}

/// By what a device was registered.
const REGISTERED_BY: &str = "By what: `account:` and a name, `claim:` and the id of a claim, `certificate:` and the \
                             SHA-256 of its public key, or `other`";

/// The id under which an event and all its copies are recorded.
fn event_id() -> Value {
    text("The event's id. A stream that is opened `after` it continues with the next event. Opaque")
}

/// The id of a message, unique for its device.
pub(super) fn message_id() -> Value {
    json!({
        "type": "string",
        "description": "The id of the message, unique for its device. Opaque",
        "minLength": 16,
        "maxLength": 64,
        "pattern": "^[0-9A-Za-z_-]+$",
    })
}

/// How surely a message to a device arrives.
fn assurance() -> Value {
    json!({
        "type": "string",
        "description": "`kept` until the device has acknowledged it, or `sent` at most once",
        "enum": ["sent", "kept"],
    })
}

fn settled_state() -> Value {
    json!({
        "type": "string",
        "description": "Its final state",
        "enum": ["delivered", "rejected", "expired", "dropped"],
    })
}

fn drop_reason() -> Value {
    json!({
        "type": ["string", "null"],
        "description": "Why it was dropped: `replaced`, `cancelled` or `re-registered`; null in any other state",
    })
}

/// What is known about a kept message.
fn kept() -> Value {
    json!({
        "description": "Of a message that the device has kept until it was stored here; null for one that was sent at \
                        most once",
        "oneOf": [
            {
                "type": "object",
                "required": ["id", "lane", "redelivered", "sent_at"],
                "properties": {
                    "id": message_id(),
                    "lane": { "type": "string", "enum": ["normal", "urgent"] },
                    "redelivered": {
                        "type": "boolean",
                        "description": "Whether it may have been handled before, with the same id",
                    },
                    "sent_at": {
                        "type": ["string", "null"],
                        "format": "date-time",
                        "description": "When the device accepted it; null if the device's clock was not plausible",
                    },
                },
            },
            { "type": "null" },
        ],
    })
}

fn text(about: &str) -> Value {
    json!({ "type": "string", "description": about })
}

/// An object that has all of these.
fn object(about: &str, fields: Vec<(&str, Value)>) -> Value {
    let required: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    let properties: Map<_, _> =
        fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "description": about, "required": required, "properties": properties })
}

/// One of these, by its `kind`.
fn one_of(about: &str, kinds: Vec<(&str, Value)>) -> Value {
    let mapping: Map<_, _> =
        kinds.iter().map(|(kind, named)| ((*kind).to_owned(), named["$ref"].clone())).collect();
    let named: Vec<_> = kinds.into_iter().map(|(_, named)| named).collect();
    json!({
        "description": about,
        "oneOf": named,
        "discriminator": { "propertyName": "kind", "mapping": mapping },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use fedecks_cloud::messaging::{ConnectionId, NodeId};
    use fedecks_cloud::{DeviceId, Message, Term};
    use fedecks_store::{DownState, DropReason};

    use super::*;
    use crate::events::{Assurance, Bounds, Event, EventLog, EventPayload, Filter, Item, Reader};

    fn payload(kind: EventKind) -> EventPayload {
        let (id, by, connection) = (
            fedecks_protocol::Tag(7),
            "token:ops".to_owned(),
            ConnectionId::from_parts(1, NodeId(2)),
        );
        let assurance = Assurance::Kept;
        let (message, bytes) = (Message::from(Term::Nil), Bytes::from_static(b"x"));
        match kind {
            EventKind::Connected => EventPayload::Connected { connection, peer: None, by: "token" },
            EventKind::Disconnected => EventPayload::Disconnected { connection, reason: by },
            EventKind::Message => EventPayload::Message(message),
            EventKind::RawMessage => EventPayload::RawMessage(bytes),
            EventKind::Sent => EventPayload::Sent { id, by, assurance, message },
            EventKind::RawSent => EventPayload::RawSent { id, by, assurance, bytes },
            EventKind::MessageSettled => {
                let state = DownState::Dropped(DropReason::Replaced);
                EventPayload::MessageSettled { id, state }
            }
            EventKind::Registered => EventPayload::Registered { by, address: None },
            EventKind::Returned => EventPayload::Returned { by, address: None },
            EventKind::Refused => EventPayload::Refused { reason: "blocked", peer: None, by: None },
            EventKind::Revoked => EventPayload::Revoked,
            EventKind::Blocked => EventPayload::Blocked,
            EventKind::Unblocked => EventPayload::Unblocked,
        }
    }

    #[tokio::test]
    async fn the_schema_of_each_event_has_what_its_json_has() {
        let log = EventLog::new(Bounds { events: 100, bytes: 1_000_000 });
        let mut reader = Reader::follow(&log, None, Filter::default());
        let mut schemas = Schemas::default();
        stream_event(&mut schemas);
        for kind in EventKind::ALL {
            log.record(Event::now(&DeviceId::new("a").unwrap(), payload(*kind)));
            let Item::Event(entry) = reader.next().await else { panic!("a gap") };
            let json: Value = serde_json::from_slice(&entry.json()).unwrap();
            let json = json.as_object().unwrap();
            assert_eq!(json["kind"], kind.as_str());
            let name = described(*kind, &mut schemas).name;
            let schema = schemas.get(name).unwrap();
            let described = schema["properties"].as_object().unwrap();
            let keys: BTreeSet<_> = json.keys().collect();
            assert_eq!(described.keys().collect::<BTreeSet<_>>(), keys, "{name}");
            assert_eq!(schema["required"].as_array().unwrap().len(), keys.len(), "{name}");
        }
    }
}
