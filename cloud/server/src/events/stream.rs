//! Event streams: server-sent events to whoever follows.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::log::{EventLog, Feed, Filter, Item};

/// The event streams that are open: server-sent events, as the HTML standard defines them.
#[derive(Clone)]
pub(crate) struct Streams {
    log: EventLog,
    slots: Arc<Semaphore>,
    most: usize,
    stopping: watch::Receiver<bool>,
}

/// What somebody wants to follow, and for how long it may.
pub(crate) struct Subscribe<A> {
    pub(crate) filter: Filter,
    /// The id of the last event that it has.
    pub(crate) after: Option<String>,
    /// Whether it may still follow: asked before each event, and at each heartbeat.
    pub(crate) allowed: A,
}

/// A comment and the position are sent so often, so that a proxy does not take the stream for a dead one, and so that a
/// reader which is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// After how long a browser connects anew.
const RETRY: Duration = Duration::from_secs(3);

impl Streams {
    /// At most `most` are open at a time. All end once `stopping` is true.
    pub(crate) fn new(log: EventLog, most: usize, stopping: watch::Receiver<bool>) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self { log, slots: Arc::new(Semaphore::new(most)), most, stopping }
    }

    /// How many are open.
    pub(crate) fn open_now(&self) -> usize {
        self.most.saturating_sub(self.slots.available_permits())
    }

    /// Opens a stream of what somebody wants, or none if too many are open.
    pub(crate) fn open<A>(
        &self,
        subscribe: Subscribe<A>,
    ) -> Option<impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static>
    where
        A: Fn() -> bool + Send + 'static,
    {
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        let Subscribe { filter, after, allowed } = subscribe;
        let feed = self.log.follow(after.as_deref(), filter);
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reader =
            Reader { feed, allowed, heartbeat, stopping: self.stopping.clone(), _slot: slot };
        let greeting = format!("retry: {}\n{}\n", RETRY.as_millis(), reader.position()).into();
        Some(stream::unfold((Some(greeting), reader), |(greeting, mut reader)| async {
            let chunk = match greeting {
                Some(greeting) => greeting,
                None => reader.next().await?,
            };
            Some((Ok(chunk), (None, reader)))
        }))
    }
}

struct Reader<A> {
    feed: Feed,
    allowed: A,
    heartbeat: tokio::time::Interval,
    stopping: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
}

impl<A: Fn() -> bool> Reader<A> {
    /// The line that has a reader come back to here, even if it gets no event before it is cut off.
    fn position(&self) -> String {
        self.feed.position().map(|id| format!("id: {id}\n")).unwrap_or_default()
    }

    /// The next piece of the stream, or its end.
    async fn next(&mut self) -> Option<Bytes> {
        let item = tokio::select! {
            biased;
            _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            item = self.feed.next() => Some(item),
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
            Some(Item::Event(event)) => event.server_sent(),
        })
    }
}

#[cfg(test)]
mod tests {
    use fedecks_cloud::{DeviceId, Message, Term};
    use futures_util::{FutureExt, StreamExt};

    use super::super::event::{Event, Happened};
    use super::super::log::Bounds;
    use super::*;

    fn streams(most: usize) -> (Streams, EventLog, watch::Sender<bool>) {
        let log = EventLog::new(Bounds { events: 10, bytes: 1_000_000 });
        let (stop, stopping) = watch::channel(false);
        (Streams::new(log.clone(), most, stopping), log, stop)
    }

    fn all(after: Option<&str>) -> Subscribe<impl Fn() -> bool + Send + 'static> {
        let after = after.map(str::to_owned);
        Subscribe { filter: Filter::default(), after, allowed: || true }
    }

    fn message() -> Event {
        let message = Message::from(Term::from("line 1\nline 2"));
        Event::now(&DeviceId::new("a").unwrap(), Happened::Message(message))
    }

    fn text(chunk: Option<Result<Bytes, Infallible>>) -> String {
        String::from_utf8(chunk.unwrap().unwrap().to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_sent_as_they_happen_and_a_comment_meanwhile() {
        let (streams, log, _stop) = streams(1);
        let mut stream = Box::pin(streams.open(all(None)).unwrap());
        let greeting = text(stream.next().await);
        let id = greeting.strip_prefix("retry: 3000\nid: ").unwrap().strip_suffix("\n\n").unwrap();
        assert!(id.ends_with("-0"), "{id}");
        assert!(stream.next().now_or_never().is_none());
        log.record(message());
        let sent = text(stream.next().await);
        let mut lines = sent.lines();
        let id = lines.next().unwrap().strip_prefix("id: ").unwrap().to_owned();
        assert_eq!(lines.next(), Some("event: message"));
        let data = lines.next().unwrap().strip_prefix("data: ").unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(
            (&data["id"], &data["message"]),
            (&id.as_str().into(), &"line 1\nline 2".into())
        );
        assert_eq!((lines.next(), lines.next()), (Some(""), None));
        assert_eq!(text(stream.next().await), format!(":\nid: {id}\n\n"));
    }

    #[tokio::test]
    async fn what_cannot_be_resumed_begins_with_a_gap() {
        let (streams, _log, _stop) = streams(1);
        let mut stream = Box::pin(streams.open(all(Some("of another time"))).unwrap());
        assert_eq!(text(stream.next().await), "retry: 3000\n\n");
        let gap = text(stream.next().await);
        assert!(gap.contains("\nevent: gap\ndata: {"), "{gap}");
    }

    #[tokio::test]
    async fn more_than_the_most_are_not_opened() {
        let (streams, _log, _stop) = streams(1);
        let first = streams.open(all(None));
        assert!(streams.open(all(None)).is_none());
        drop(first);
        assert!(streams.open(all(None)).is_some());
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_server_and_with_the_right_to_it() {
        let (streams, log, stop) = streams(2);
        let mut stopped = Box::pin(streams.open(all(None)).unwrap());
        stopped.next().await;
        let subscribe = Subscribe { filter: Filter::default(), after: None, allowed: || false };
        let mut forbidden = Box::pin(streams.open(subscribe).unwrap());
        forbidden.next().await;
        log.record(message());
        assert!(forbidden.next().await.is_none());
        stop.send(true).unwrap();
        assert!(stopped.next().await.is_none());
    }
}
