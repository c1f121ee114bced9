//! What a trial asks for each message: the commands and requests that say so, and what their answers promise.

use std::process::Output;
use std::str::FromStr;
use std::time::Duration;

use fedecks_testing::history::{Answer, Direction, Lane, Message, Place};
use fedecks_testing::inbox::Inbox;
use http::StatusCode;
use serde_json::Value;

/// What is asked for each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing: it is sent now or never. The device's command says whether the cloud has read it; a message to the
    /// device is lost with the connection.
    None,
    /// Messages of the device are kept in its memory, and read from the cloud's log. Those to it are kept in the cloud's
    /// store.
    Memory,
    /// The same, and each has to be stored in the cloud before it counts as accepted.
    Stored,
    /// The same as [`Keep::Memory`], but each counts as accepted when it is on the device's disk.
    Disk,
}

/// A message as an application has received it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) lane: Lane,
    pub(crate) number: u64,
    pub(crate) id: Option<String>,
    pub(crate) redelivered: bool,
}

impl Received {
    /// The application has received it in this direction.
    pub(crate) fn enter(self, direction: Direction, inbox: &Inbox) {
        let Self { lane, number, id, redelivered } = self;
        inbox.receive(Message { direction, lane, number }, id, redelivered);
    }
}

impl Keep {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Stored => "stored",
            Self::Disk => "disk",
        }
    }

    /// Whether messages are kept, in both directions.
    pub(crate) fn is_kept(self) -> bool {
        self != Self::None
    }

    /// The lanes in which messages are sent.
    pub(crate) fn lanes(self) -> &'static [Lane] {
        if self.is_kept() { &LANES } else { &[Lane::Normal] }
    }

    /// How long the last messages may take after the applications have stopped sending.
    pub(crate) fn transit(self) -> Duration {
        Duration::from_secs(if self.is_kept() { 10 } else { 2 })
    }

    /// The arguments of the command `fedecks` that send a message from the device.
    pub(crate) fn device_send(self, lane: Lane, number: u64) -> Vec<String> {
        match self {
            Self::None => vec!["send".to_owned(), body(lane, number)],
            Self::Memory | Self::Stored | Self::Disk => {
                let place = if self == Self::Disk { "disk" } else { "memory" };
                let mut words = vec!["send", "--keep", place, "--lane", name(lane)];
                if self == Self::Stored {
                    words.push("--wait-acked");
                }
                // The others are written in groups, of up to 5 s each.
                if self == Self::Disk && number % 4 != 0 {
                    words.push("--sync");
                }
                words.into_iter().map(str::to_owned).chain([body(lane, number)]).collect()
            }
        }
    }

    /// What that command has answered.
    pub(crate) fn device_answer(self, output: &Output) -> Answer {
        let printed = String::from_utf8_lossy(&output.stdout);
        let id = Some(printed.trim()).filter(|it| self.is_kept() && !it.is_empty());
        let id = id.map(str::to_owned);
        match (self, output.status.code()) {
            // The cloud has confirmed it.
            (Self::None, Some(0)) => Answer::Accepted(Place::Read, None),
            (Self::Memory, Some(0)) => Answer::Accepted(Place::Memory, id),
            (Self::Stored | Self::Disk, Some(0)) => Answer::Accepted(Place::Disk, id),
            (Self::Disk, Some(8)) => match waits_in_memory(&output.stderr) {
                Some(id) => Answer::Accepted(Place::Memory, Some(id)),
                None => Answer::Unknown,
            },
            // Not connected.
            (_, Some(7)) => Answer::Refused,
            _ => Answer::Unknown,
        }
    }

    /// The arguments of the command `fedecks` that print what the device receives in a lane.
    pub(crate) fn device_listen(self, lane: Lane) -> Vec<&'static str> {
        if self.is_kept() { vec!["listen", "--ack", "--lane", name(lane)] } else { vec!["listen"] }
    }

    /// A line that this command has printed.
    pub(crate) fn device_received(self, line: &str) -> Option<Received> {
        let value: Value = serde_json::from_str(line).ok()?;
        if self.is_kept() {
            return kept(&value);
        }
        let (lane, number) = parse(&value)?;
        Some(Received { lane, number, id: None, redelivered: false })
    }

    /// The path of the API that sends a message to the device, and its body.
    pub(crate) fn cloud_send(self, device: &str, lane: Lane, number: u64) -> (String, String) {
        let lane_name = name(lane);
        let options =
            if self.is_kept() { format!("?keep=true&lane={lane_name}") } else { String::new() };
        (format!("/api/v1/devices/{device}/messages{options}"), body(lane, number))
    }

    /// The key by which the API recognizes that request; `None` if it is not repeated.
    pub(crate) fn idempotency_key(self, lane: Lane, number: u64) -> Option<String> {
        self.is_kept().then(|| format!("{}-{number}", name(lane)))
    }

    /// What the API has answered; `None` if there was no complete answer.
    pub(crate) fn cloud_answer(self, answer: Option<(StatusCode, Value)>) -> Answer {
        match (self, answer) {
            (Self::None, Some((StatusCode::ACCEPTED, _))) => {
                Answer::Accepted(Place::Connection, None)
            }
            (_, Some((StatusCode::ACCEPTED, body))) => {
                Answer::Accepted(Place::Disk, body["id"].as_str().map(str::to_owned))
            }
            (_, Some((status, _))) if status.is_client_error() => Answer::Refused,
            // Overloaded, or too much waits for the device.
            (_, Some((StatusCode::SERVICE_UNAVAILABLE, _))) => Answer::Refused,
            _ => Answer::Unknown,
        }
    }

    /// The path of the API that says what was settled for the device, of all lanes.
    pub(crate) fn cloud_states(self, device: &str, cursor: Option<&str>) -> Option<String> {
        let cursor = cursor.map(|it| format!("&cursor={it}")).unwrap_or_default();
        let path = format!("/api/v1/devices/{device}/messages?limit=500{cursor}");
        self.is_kept().then_some(path)
    }

    /// The path of the API that streams what devices send, after the event with this id.
    pub(crate) fn cloud_events(self, device: &str, after: Option<&str>) -> String {
        let after = after.map(|id| format!("&after={id}")).unwrap_or_default();
        format!("/api/v1/events?kind=message&device={device}{after}")
    }

    /// The path of the API that lists the kept messages of devices after this one; `None` if there are none.
    pub(crate) fn cloud_log(self, device: &str, after: &str) -> Option<String> {
        let path = format!("/api/v1/messages?device={device}&after={after}&limit=500");
        self.is_kept().then_some(path)
    }

    /// A message of this list.
    pub(crate) fn cloud_logged(self, listed: &Value) -> Option<Received> {
        kept(listed)
    }

    /// An event of this stream that is a message.
    pub(crate) fn cloud_received(self, event: &Value) -> Option<Received> {
        let (lane, number) = parse(event.get("message")?)?;
        Some(Received { lane, number, id: None, redelivered: false })
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "none" => Ok(Self::None),
            "memory" => Ok(Self::Memory),
            "stored" => Ok(Self::Stored),
            "disk" => Ok(Self::Disk),
            _ => Err("expected none, memory, stored or disk".to_owned()),
        }
    }
}

/// A message of some size that has a lane and a number, twice: also in a way that is found in a file.
fn body(lane: Lane, number: u64) -> String {
    let lane = name(lane);
    let text = "x".repeat(60);
    format!(r#"{{"lane":"{lane}","number":{number},"text":"{MARK}{lane}-{number:08}-{text}"}}"#)
}

/// What a message begins with in a file.
const MARK: &str = "trial-message-";

/// The messages in a file.
pub(crate) fn messages_in(bytes: &[u8]) -> Vec<(Lane, u64)> {
    let starts = bytes.windows(MARK.len()).enumerate().filter(|(_, it)| *it == MARK.as_bytes());
    let after = starts.map(|(at, _)| &bytes[at + MARK.len()..]);
    after
        .filter_map(|rest| {
            let lane = LANES.into_iter().find(|it| rest.starts_with(name(*it).as_bytes()))?;
            let number = rest.get(name(lane).len() + 1..)?.get(..8)?;
            Some((lane, std::str::from_utf8(number).ok()?.parse().ok()?))
        })
        .collect()
}

/// The id in the complaint that a message could not be written and is kept in memory.
fn waits_in_memory(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let (before, after) = text.split_once(" is not on disk")?;
    let id = before.rsplit(' ').next()?;
    after.contains("it waits in memory").then(|| id.to_owned())
}

/// All of them.
const LANES: [Lane; 2] = [Lane::Normal, Lane::Urgent];

/// A kept message, with its id.
fn kept(value: &Value) -> Option<Received> {
    let (lane, number) = parse(value.get("message")?)?;
    let id = value.get("id")?.as_str().map(str::to_owned);
    let redelivered = value.get("redelivered")?.as_bool()?;
    Some(Received { lane, number, id, redelivered })
}

fn parse(message: &Value) -> Option<(Lane, u64)> {
    let lane = message.get("lane")?.as_str()?;
    let lane = LANES.into_iter().find(|it| name(*it) == lane)?;
    Some((lane, message.get("number")?.as_u64()?))
}

fn name(lane: Lane) -> &'static str {
    match lane {
        Lane::Normal => "normal",
        Lane::Urgent => "urgent",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn output(status: i32, stdout: &str, stderr: &str) -> Output {
        let status = ExitStatus::from_raw(status);
        Output { status, stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn a_message_is_found_in_a_file() {
        let (normal, urgent) = (body(Lane::Normal, 7), body(Lane::Urgent, 12_345_678));
        let file = format!("\0{normal}\u{1}{urgent}{MARK}{MARK}normal-0000000");
        let found = messages_in(file.as_bytes());
        assert_eq!(found, [(Lane::Normal, 7), (Lane::Urgent, 12_345_678)]);
    }

    #[test]
    fn both_ends_recognize_the_messages_that_they_send() {
        let of = |received: Option<Received>| received.map(|it| (it.lane, it.number));
        for lane in [Lane::Normal, Lane::Urgent] {
            let sent = Keep::None.device_send(lane, 42);
            let event = format!(r#"{{"kind":"message","message":{}}}"#, sent[1]);
            let event = serde_json::from_str(&event).unwrap();
            assert_eq!(of(Keep::None.cloud_received(&event)), Some((lane, 42)));
            let (_, body) = Keep::None.cloud_send("d", lane, 43);
            assert_eq!(of(Keep::None.device_received(&body)), Some((lane, 43)));
        }
        for other in ["no JSON", "{}", r#"{"lane":"slow","number":1}"#] {
            assert!(Keep::None.device_received(other).is_none(), "{other}");
        }
    }

    #[test]
    fn only_certain_answers_are_taken_for_certain() {
        let id = "0123456789abcdef";
        for (keep, place) in
            [(Keep::Memory, Place::Memory), (Keep::Stored, Place::Disk), (Keep::Disk, Place::Disk)]
        {
            let answer = keep.device_answer(&output(0, &format!("{id}\n"), ""));
            assert_eq!(answer, Answer::Accepted(place, Some(id.to_owned())));
        }
        let accepted = Answer::Accepted(Place::Connection, None);
        let read = Answer::Accepted(Place::Read, None);
        for (code, answer) in [(0, &read), (7, &Answer::Refused), (3, &Answer::Unknown)] {
            assert_eq!(Keep::None.device_answer(&output(code << 8, "", "")), *answer);
        }
        // Killed by a signal.
        assert_eq!(Keep::None.device_answer(&output(9, "", "")), Answer::Unknown);
        let waits = format!("fedecks: message {id} is not on disk: full; it waits in memory\n");
        let in_memory = Answer::Accepted(Place::Memory, Some(id.to_owned()));
        assert_eq!(Keep::Disk.device_answer(&output(8 << 8, "", &waits)), in_memory);
        let ended = "fedecks: fedecksd has ended\n";
        assert_eq!(Keep::Disk.device_answer(&output(8 << 8, "", ended)), Answer::Unknown);
        for (status, answer) in [
            (Some(202), &accepted),
            (Some(409), &Answer::Refused),
            (Some(503), &Answer::Refused),
            (Some(500), &Answer::Unknown),
            (None, &Answer::Unknown),
        ] {
            let status = status.map(|code| (StatusCode::from_u16(code).unwrap(), Value::Null));
            assert_eq!(Keep::None.cloud_answer(status.clone()), *answer, "{status:?}");
        }
        let body = serde_json::json!({"id": "ab", "assurance": "kept", "state": "queued"});
        let answer = Keep::Stored.cloud_answer(Some((StatusCode::ACCEPTED, body)));
        assert_eq!(answer, Answer::Accepted(Place::Disk, Some("ab".to_owned())));
    }
}
