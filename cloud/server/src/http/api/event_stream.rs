//! The text of an event stream: server-sent events, as the HTML standard defines them.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::events::{EventStream, Item, LogEntry};

/// How often a quiet stream sends a comment and its position: proxies don't take it for dead, and a
/// client that is gone is noticed.
const COMMENT: Duration = Duration::from_secs(15);

/// How long a browser waits before it reconnects.
const RETRY: Duration = Duration::from_secs(3);

/// The length of a chunk. A client that stops reading keeps one of them in memory.
const CHUNK: usize = 64 * 1024;

/// The chunks of a stream. With `heartbeat`, a quiet stream sends an event that often instead of a comment. It ends with the server, when `allowed`, called before each chunk, returns false,
/// and when an event leaves the log before a slow client has all of it.
pub(super) fn chunks(
    stream: EventStream,
    heartbeat: Option<Duration>,
    allowed: impl Fn() -> bool + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let period = heartbeat.unwrap_or(COMMENT);
    let mut quiet = interval_at(Instant::now() + period, period);
    quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let encoder =
        Encoder { stream, allowed, quiet, has_heartbeat: heartbeat.is_some(), sending: None };
    let greeting = format!("retry: {}\n{}\n", RETRY.as_millis(), encoder.position()).into();
    let rest =
        stream::unfold(encoder, |mut encoder| async { Some((encoder.next().await?, encoder)) });
    stream::iter([greeting]).chain(rest).map(Ok)
}

struct Encoder<A> {
    stream: EventStream,
    allowed: A,
    quiet: Interval,
    has_heartbeat: bool,
    sending: Option<Sending>,
}

/// An event of which a part was sent. It does not stay in memory for that.
struct Sending {
    entry: Weak<LogEntry>,
    sent: usize,
}

impl<A: Fn() -> bool> Encoder<A> {
    /// The line from which a client resumes that is cut off now, even if it got no event yet.
    fn position(&self) -> String {
        self.stream.reader.position().map(|id| format!("id: {id}\n")).unwrap_or_default()
    }

    /// The next chunk; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(Sending { entry, sent }) = self.sending.take() {
            let stopping = *self.stream.stopping.borrow();
            let entry = entry.upgrade().filter(|_| !stopping && (self.allowed)())?;
            return Some(self.chunk(&entry, sent));
        }
        let item = tokio::select! {
            biased;
            _ = self.stream.stopping.wait_for(|stopping| *stopping) => return None,
            item = self.stream.reader.next() => Some(item),
            _ = self.quiet.tick() => None,
        };
        if !(self.allowed)() {
            return None;
        }
        self.quiet.reset();
        Some(match item {
            None if self.has_heartbeat => {
                let position = self.position();
                format!("{position}event: heartbeat\ndata: {{\"kind\":\"heartbeat\"}}\n\n").into()
            }
            None => format!(":\n{}\n", self.position()).into(),
            Some(Item::Gap { id }) => {
                format!("id: {id}\nevent: gap\ndata: {{\"id\":\"{id}\",\"kind\":\"gap\"}}\n\n")
                    .into()
            }
            Some(Item::Event(entry)) => self.chunk(&entry, 0),
        })
    }

    /// The part of an event from `sent` on.
    fn chunk(&mut self, entry: &Arc<LogEntry>, sent: usize) -> Bytes {
        let text = entry.text();
        if text.len() <= CHUNK {
            return text;
        }
        let end = text.len().min(sent + CHUNK);
        if end < text.len() {
            self.sending = Some(Sending { entry: Arc::downgrade(entry), sent: end });
        }
        // A copy: a slice would keep the whole text.
        Bytes::copy_from_slice(text.get(sent..end).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use fedecks_cloud::{DeviceId, Message, Term};
    use futures_util::{FutureExt, StreamExt};
    use tokio::sync::watch;

    use super::*;
    use crate::config::Events;
    use crate::events::{Bounds, Event, EventLog, EventPayload, Filter, Streams, TooManyStreams};

    type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Infallible>>>>;

    struct Fixture {
        streams: Streams,
        log: EventLog,
        stop: watch::Sender<bool>,
        heartbeat: Option<Duration>,
    }

    impl Fixture {
        fn new(streams: usize) -> Self {
            let log = EventLog::new(Bounds { events: 10, bytes: 1_000_000 });
            let (stop, stopping) = watch::channel(false);
            let limits = Events { streams, streams_per_token: 2, ..Events::default() };
            Self {
                streams: Streams::new(log.clone(), &limits, stopping),
                log,
                stop,
                heartbeat: None,
            }
        }

        fn open(&self, after: Option<&str>, allowed: bool) -> Option<Chunks> {
            let stream = self.streams.open("token", after, Filter::default()).ok()?;
            Some(Box::pin(chunks(stream, self.heartbeat, move || allowed)))
        }

        fn record_message(&self) {
            self.record("line 1\nline 2".into());
        }

        fn record(&self, text: String) {
            let payload = EventPayload::Message(Message::from(Term::from(text)));
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

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_sends_heartbeats_if_that_was_asked_for() {
        let fixture = Fixture { heartbeat: Some(Duration::from_secs(5)), ..Fixture::new(1) };
        let mut stream = fixture.open(None, true).unwrap();
        let greeting = text(&mut stream).await;
        let position = greeting.strip_prefix("retry: 3000\n").unwrap().strip_suffix('\n').unwrap();
        let began = Instant::now();
        for count in 1..=3 {
            let expected =
                format!("{position}event: heartbeat\ndata: {{\"kind\":\"heartbeat\"}}\n\n");
            assert_eq!(text(&mut stream).await, expected);
            assert_eq!(began.elapsed(), Duration::from_secs(5 * count));
        }
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

    #[tokio::test]
    async fn a_big_event_is_sent_in_small_chunks() {
        let fixture = Fixture::new(1);
        let mut stream = fixture.open(None, true).unwrap();
        stream.next().await;
        fixture.record("\u{1}".repeat(50_000));
        let mut sent = String::new();
        while !sent.ends_with("\n\n") {
            let chunk = text(&mut stream).await;
            assert!(chunk.len() <= CHUNK);
            sent += &chunk;
        }
        let (_, data) = sent.split_once("\ndata: ").unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["message"].as_str().unwrap().len(), 50_000);
        assert!(stream.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_stream_ends_if_the_rest_of_an_event_is_gone() {
        let fixture = Fixture::new(1);
        let mut stream = fixture.open(None, true).unwrap();
        stream.next().await;
        fixture.record("x".repeat(100_000));
        assert_eq!(text(&mut stream).await.len(), CHUNK);
        (0..10).for_each(|_| fixture.record_message());
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_token_has_no_more_than_its_share_of_the_streams() {
        let fixture = Fixture::new(3);
        let open = |token| fixture.streams.open(token, None, Filter::default());
        let [one, _two] = [open("a"), open("a")].map(Result::unwrap);
        assert_eq!(open("a").err(), Some(TooManyStreams::OfToken(2)));
        let _other = open("b").unwrap();
        assert_eq!(open("b").err(), Some(TooManyStreams::InAll(3)));
        drop(one);
        assert!(open("a").is_ok() && open("c").is_ok());
    }
}
