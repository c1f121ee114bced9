//! Looks up the addresses of one webhook's receiver in a dedicated thread, since a lookup by the system may block for
//! half a minute. Connecting and delivering are not here.

use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::dns::Name;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tower_service::Service;

/// How long a delivery waits for the lookup, before its own time begins.
pub(super) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long addresses are used before they are looked up again, next to the deliveries.
const FRESH: Duration = Duration::from_secs(30);

/// How long they are used while that takes long or fails.
const USABLE: Duration = Duration::from_secs(300);

/// Resolves the name of one host. Clones share its lookups.
#[derive(Clone)]
pub(super) struct Resolver(Arc<Shared>);

/// Asks the system. Blocks.
type Ask = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

struct Shared {
    host: String,
    ask: Box<Ask>,
    lookup: Mutex<Lookup>,
    /// The number of lookups that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct Lookup {
    /// One is in progress: there is never more than one thread.
    running: bool,
    /// The addresses that were found last, and when.
    found: Option<(Instant, Vec<IpAddr>)>,
    /// Why the last one has failed.
    error: Option<String>,
}

impl Resolver {
    /// `host` is that of a URL.
    pub(super) fn new(host: &str) -> Self {
        Self::by(host, |host| {
            let found = (host, 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }

    /// One that asks in another way.
    pub(super) fn by(
        host: &str,
        ask: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        let host = host.to_owned();
        let (ask, lookup, ended) = (Box::new(ask), Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(Shared { host, ask, lookup, ended }))
    }

    /// Waits until addresses are known, for [`LOOKUP_TIMEOUT`] at most. A lookup that takes longer continues, for the
    /// next delivery.
    pub(super) async fn ready(&self) -> Result<(), String> {
        let age = self.age();
        if self.is_literal() || age.is_some_and(|age| age < FRESH) {
            return Ok(());
        }
        // Before a lookup is started, whose end would be missed otherwise.
        let mut ended = self.0.ended.subscribe();
        self.start()?;
        if age.is_some_and(|age| age < USABLE) {
            return Ok(());
        }
        if tokio::time::timeout(LOOKUP_TIMEOUT, ended.changed()).await.is_err() {
            return Err(format!("the system's resolver did not answer within {LOOKUP_TIMEOUT:?}"));
        }
        self.0.lookup.lock().error.clone().map_or(Ok(()), Err)
    }

    /// The next delivery waits for a new lookup: connecting to these addresses has failed.
    pub(super) fn forget(&self) {
        self.0.lookup.lock().found = None;
    }

    /// The host is an address, which the connector uses without asking.
    fn is_literal(&self) -> bool {
        self.0.host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    }

    fn age(&self) -> Option<Duration> {
        self.0.lookup.lock().found.as_ref().map(|(at, _)| at.elapsed())
    }

    /// Starts a lookup unless one is in progress.
    fn start(&self) -> Result<(), String> {
        let mut lookup = self.0.lookup.lock();
        if lookup.running {
            return Ok(());
        }
        let shared = self.0.clone();
        let thread = std::thread::Builder::new().name("fedecks-resolve".into());
        let started = thread.spawn(move || shared.look_up());
        lookup.running = started.is_ok();
        started.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
    }
}

impl Shared {
    fn look_up(&self) {
        let found = (self.ask)(&self.host).map_err(|error| error.to_string());
        let found = found.and_then(|found| match found.is_empty() {
            true => Err("it has no address".to_owned()),
            false => Ok(found),
        });
        let mut lookup = self.lookup.lock();
        lookup.running = false;
        match found {
            Ok(found) => (lookup.found, lookup.error) = (Some((Instant::now(), found)), None),
            Err(error) => lookup.error = Some(error),
        }
        drop(lookup);
        self.ended.send_modify(|ended| *ended += 1);
    }
}

/// What the connector asks: it gets the addresses that are known, at once.
impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        let lookup = self.0.lookup.lock();
        let found = lookup.found.iter().flat_map(|(_, found)| found);
        let found: Vec<_> = found.map(|address| SocketAddr::new(*address, 0)).collect();
        ready(Ok(found.into_iter()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use fedecks_testing::wait::{until, within};
    use futures_util::future::join_all;

    use super::*;

    const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// A resolver that counts its lookups, each of which takes until the test sends its result.
    fn gated() -> (Resolver, Arc<AtomicUsize>, mpsc::Sender<io::Result<Vec<IpAddr>>>) {
        let (answer, answers) = mpsc::channel();
        let (count, answers) = (Arc::new(AtomicUsize::new(0)), Mutex::new(answers));
        let counted = count.clone();
        let ask = move |host: &str| {
            assert_eq!(host, "hooks.example.com");
            counted.fetch_add(1, Ordering::SeqCst);
            answers.lock().recv().unwrap_or_else(|_| Err(io::Error::other("the test has ended")))
        };
        (Resolver::by("hooks.example.com", ask), count, answer)
    }

    #[tokio::test]
    async fn deliveries_share_a_lookup_and_its_result() {
        let (resolver, count, answer) = gated();
        let waiting = join_all((0..50).map(|_| resolver.ready()));
        let waiting =
            async { tokio::join!(waiting, async { answer.send(Ok(vec![LOCALHOST])).unwrap() }) };
        let (found, ()) = within(waiting).await;
        assert!(found.iter().all(Result::is_ok), "{found:?}");
        within(resolver.ready()).await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        resolver.forget();
        answer.send(Err(io::Error::other("no such host"))).unwrap();
        assert_eq!(within(resolver.ready()).await.unwrap_err(), "no such host");
        // An error is not kept.
        answer.send(Ok(Vec::new())).unwrap();
        assert_eq!(within(resolver.ready()).await.unwrap_err(), "it has no address");
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_hangs_is_one_thread_and_ends_a_wait() {
        let (resolver, count, answer) = gated();
        for _ in 0..5 {
            let began = Instant::now();
            let late = resolver.ready().await.unwrap_err();
            assert_eq!(late, "the system's resolver did not answer within 10s");
            assert_eq!(began.elapsed(), LOOKUP_TIMEOUT);
        }
        // The result is not lost.
        let mut ended = resolver.0.ended.subscribe();
        answer.send(Ok(vec![LOCALHOST])).unwrap();
        tokio::time::resume();
        within(ended.changed()).await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        // The thread dates it by the real time, which the paused one is ahead of: it is not fresh, but used.
        resolver.ready().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn known_addresses_are_used_while_a_lookup_hangs() {
        let (resolver, count, answer) = gated();
        answer.send(Ok(vec![LOCALHOST])).unwrap();
        tokio::time::resume();
        within(resolver.ready()).await.unwrap();
        tokio::time::pause();
        let second = Duration::from_secs(1);
        for (later, lookups) in [(FRESH - second, 1), (USABLE - FRESH - second, 2)] {
            tokio::time::advance(later).await;
            let began = Instant::now();
            resolver.ready().await.unwrap();
            assert_eq!(began.elapsed(), Duration::ZERO);
            // Its thread may not have begun.
            assert!(count.load(Ordering::SeqCst) <= lookups);
        }
        tokio::time::advance(3 * second).await;
        assert!(resolver.ready().await.is_err(), "they are too old");
        // One that has ended, and one that hangs, whose thread may begin later.
        tokio::time::resume();
        until(async || (count.load(Ordering::SeqCst) == 2).then_some(())).await;
        drop(answer);
    }

    #[tokio::test]
    async fn an_address_is_not_looked_up() {
        for host in ["127.0.0.1", "[::1]", "192.0.2.7"] {
            let resolver = Resolver::by(host, |_| panic!("it was looked up"));
            resolver.ready().await.unwrap();
        }
    }
}
