//! The text of an event stream: server-sent events, as the HTML standard defines them.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::events::{EventStream, Item, LogEntry};

/// How often a quiet stream sends a comment and its position: proxies don't take it for dead, and a
/// client that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a browser waits before it reconnects.
const RETRY: Duration = Duration::from_secs(3);

/// The chunks of a stream. It ends with the server, and when `allowed`, called before each event and
/// heartbeat, returns false.
pub(super) fn chunks(
    stream: EventStream,
    allowed: impl Fn() -> bool + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let encoder = Encoder { stream, allowed, heartbeat };
    let greeting = format!("retry: {}\n{}\n", RETRY.as_millis(), encoder.position()).into();
    let rest =
        stream::unfold(encoder, |mut encoder| async { Some((encoder.next().await?, encoder)) });
    stream::iter([greeting]).chain(rest).map(Ok)
}

struct Encoder<A> {
    stream: EventStream,
    allowed: A,
    heartbeat: Interval,
}

impl<A: Fn() -> bool> Encoder<A> {
    /// The line from which a client resumes that is cut off now, even if it got no event yet.
    fn position(&self) -> String {
        self.stream.reader.position().map(|id| format!("id: {id}\n")).unwrap_or_default()
    }

    /// The next chunk; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        let item = tokio::select! {
            biased;
            _ = self.stream.stopping.wait_for(|stopping| *stopping) => return None,
            item = self.stream.reader.next() => Some(item),
            _ = self.heartbeat.tick() => None,
        };
        if !(self.allowed)() {
            return None;
        }
        self.heartbeat.reset();
        Some(match item {
            None => format!(":\n{}\n", self.position()).into(),
            Some(Item::Gap { id }) => {
                format!("id: {id}\nevent: gap\ndata: {{\"id\":\"{id}\",\"kind\":\"gap\"}}\n\n")
                    .into()
            }
            Some(Item::Event(entry)) => entry.encoded(encode),
        })
    }
}

fn encode(entry: &LogEntry) -> Bytes {
    let (id, kind) = (entry.id(), entry.event.kind().as_str());
    let json = entry.event.to_json(&id);
    format!("id: {id}\nevent: {kind}\ndata: {json}\n\n").into()
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use fedecks_cloud::{DeviceId, Message, Term};
    use futures_util::{FutureExt, StreamExt};
    use tokio::sync::watch;

    use super::*;
    use crate::events::{Bounds, Event, EventLog, EventPayload, Filter, Streams};

    type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Infallible>>>>;

    struct Fixture {
        streams: Streams,
        log: EventLog,
        stop: watch::Sender<bool>,
    }

    impl Fixture {
        fn new(max: usize) -> Self {
            let log = EventLog::new(Bounds { events: 10, bytes: 1_000_000 });
            let (stop, stopping) = watch::channel(false);
            Self { streams: Streams::new(log.clone(), max, stopping), log, stop }
        }

        fn open(&self, after: Option<&str>, allowed: bool) -> Option<Chunks> {
            let stream = self.streams.open(after, Filter::default())?;
            Some(Box::pin(chunks(stream, move || allowed)))
        }

        fn record_message(&self) {
            let payload = EventPayload::Message(Message::from(Term::from("line 1\nline 2")));
            self.log.record(Event::now(&DeviceId::new("a").unwrap(), payload));
        }
    }

    async fn text(chunks: &mut Chunks) -> String {
        String::from_utf8(chunks.next().await.unwrap().unwrap().to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_sends_events_as_they_happen_and_comments_meanwhile() {
        let fixture = Fixture::new(1);
        let mut stream = fixture.open(None, true).unwrap();
        let greeting = text(&mut stream).await;
        let id = greeting.strip_prefix("retry: 3000\nid: ").unwrap().strip_suffix("\n\n").unwrap();
        assert!(id.ends_with("-0"), "{id}");
        assert!(stream.next().now_or_never().is_none());
        fixture.record_message();
        let sent = text(&mut stream).await;
        let (id, rest) = sent.strip_prefix("id: ").unwrap().split_once('\n').unwrap();
        let data = rest.strip_prefix("event: message\ndata: ").unwrap();
        let data = data.strip_suffix("\n\n").filter(|data| !data.contains('\n')).unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!((&data["id"], &data["message"]), (&id.into(), &"line 1\nline 2".into()));
        assert_eq!(text(&mut stream).await, format!(":\nid: {id}\n\n"));
    }

    #[tokio::test]
    async fn a_stream_that_cannot_resume_begins_with_a_gap() {
        let fixture = Fixture::new(1);
        let mut stream = fixture.open(Some("of another time"), true).unwrap();
        assert_eq!(text(&mut stream).await, "retry: 3000\n\n");
        let gap = text(&mut stream).await;
        assert!(gap.contains("\nevent: gap\ndata: {"), "{gap}");
    }

    #[tokio::test]
    async fn a_stream_above_the_limit_is_not_opened() {
        let fixture = Fixture::new(1);
        let first = fixture.open(None, true);
        assert!(fixture.open(None, true).is_none());
        drop(first);
        assert!(fixture.open(None, true).is_some());
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_server_and_with_its_permission() {
        let fixture = Fixture::new(2);
        let mut streams = [false, true].map(|allowed| fixture.open(None, allowed).unwrap());
        for stream in &mut streams {
            stream.next().await;
        }
        fixture.record_message();
        assert!(streams[0].next().await.is_none());
        fixture.stop.send(true).unwrap();
        assert!(streams[1].next().await.is_none());
    }
}
