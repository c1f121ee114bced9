//! Resolves the cloud's host name by the system's resolver, for each attempt again: the addresses may differ on
//! another network. A family of addresses whose question no name server answers does not delay the other one.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::getaddrinfo::{Family, getaddrinfo};

/// How long the lookup of both families at once, which also sorts them (RFC 6724), may take before each family is
/// looked up separately.
const SPLIT_AFTER: Duration = Duration::from_millis(500);

/// How long to wait for IPv6 addresses once there are IPv4 ones: the Resolution Delay of RFC 8305, section 3.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Lookups of each kind at a time. One cannot be cancelled, and blocks a thread for half a minute if no name server
/// answers. The second one is for when the network has changed in the meantime.
const MAX_LOOKUPS: usize = 2;

/// The kinds of lookups: of both families, of IPv4, of IPv6.
const KINDS: [Option<Family>; 3] = [None, Some(Family::V4), Some(Family::V6)];
const BOTH: usize = 0;
const V4: usize = 1;
const V6: usize = 2;

/// Resolves one host.
#[derive(Clone)]
pub(super) struct Resolver(Arc<Shared>);

/// Asks the system for the addresses of a host, of one family or of both. Blocks.
type Ask = dyn Fn(&str, u16, Option<Family>) -> io::Result<Vec<SocketAddr>> + Send + Sync;

struct Shared {
    host: String,
    port: u16,
    ask: Box<Ask>,
    permits: [Arc<Semaphore>; 3],
    last_job: AtomicU64,
    /// The results of all lookups, those of earlier attempts included: each attempt takes what it can use.
    results: Mutex<Results>,
    changed: Notify,
}

/// The latest results, and how many there were before them.
#[derive(Default)]
struct Results {
    before: usize,
    latest: VecDeque<Found>,
}

/// The result of a lookup.
#[derive(Debug, Clone)]
struct Found {
    kind: usize,
    job: u64,
    result: Result<Vec<SocketAddr>, String>,
}

impl Resolver {
    pub(super) fn new(host: String, port: u16) -> Self {
        Self::by(host, port, getaddrinfo)
    }

    /// One that asks in another way. `ask` may block.
    pub(super) fn by(
        host: String,
        port: u16,
        ask: impl Fn(&str, u16, Option<Family>) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        let ask = Box::new(ask);
        let permits = [(); 3].map(|()| Arc::new(Semaphore::new(MAX_LOOKUPS)));
        Self(Arc::new(Shared {
            host,
            port,
            ask,
            permits,
            last_job: AtomicU64::new(0),
            results: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Begins to resolve the host. Must be called within a tokio runtime.
    pub(super) fn lookup(&self) -> Lookup {
        let mut lookup = Lookup::new(self);
        match self.0.host.parse() {
            Ok(literal) => lookup.finish(vec![SocketAddr::new(literal, self.0.port)]),
            Err(_) => lookup.jobs[BOTH] = self.start(BOTH),
        }
        lookup
    }

    /// A lookup with this result.
    #[cfg(test)]
    pub(super) fn known(&self, addresses: &[SocketAddr]) -> Lookup {
        let mut lookup = Lookup::new(self);
        lookup.finish(addresses.to_vec());
        lookup
    }

    /// Starts a lookup, unless there are too many: then the results of those are used.
    fn start(&self, kind: usize) -> Job {
        let Ok(permit) = Arc::clone(&self.0.permits[kind]).try_acquire_owned() else {
            return Job::Shared;
        };
        let job = self.0.last_job.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let result = (shared.ask)(&shared.host, shared.port, KINDS[kind]);
            let result = result.map_err(|error| error.to_string());
            drop(permit);
            shared.report(Found { kind, job, result });
        });
        Job::Own(job)
    }
}

impl Shared {
    fn report(&self, found: Found) {
        let mut results = self.results();
        if results.latest.len() == KINDS.len() * MAX_LOOKUPS {
            results.latest.pop_front();
            results.before += 1;
        }
        results.latest.push_back(found);
        drop(results);
        self.changed.notify_waiters();
    }

    /// The number of results so far.
    fn count(&self) -> usize {
        let results = self.results();
        results.before + results.latest.len()
    }

    /// The result after the first `seen` ones, or the oldest one that is known after these.
    fn after(&self, seen: &mut usize) -> Option<Found> {
        let results = self.results();
        let index = seen.saturating_sub(results.before);
        let found = results.latest.get(index).cloned()?;
        *seen = results.before + index + 1;
        Some(found)
    }

    fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resolver({}:{})", self.0.host, self.0.port)
    }
}

/// The lookup of one kind, as seen by an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    None,
    Own(u64),
    /// One of an earlier attempt.
    Shared,
    Done,
}

impl Job {
    fn is_running(self) -> bool {
        matches!(self, Self::Own(_) | Self::Shared)
    }
}

/// Resolves the host for one attempt.
pub(super) struct Lookup {
    resolver: Resolver,
    /// The number of results that were there before or have been handled.
    seen: usize,
    jobs: [Job; 3],
    split_at: Option<Instant>,
    /// Not returned yet.
    found: Vec<SocketAddr>,
    hold_until: Option<Instant>,
    error: Option<String>,
}

impl Lookup {
    /// Nothing is started yet.
    fn new(resolver: &Resolver) -> Self {
        Self {
            resolver: resolver.clone(),
            seen: resolver.0.count(),
            jobs: [Job::None; 3],
            split_at: Some(Instant::now() + SPLIT_AFTER),
            found: Vec::new(),
            hold_until: None,
            error: None,
        }
    }

    /// The next addresses, which may repeat earlier ones; `None` if there will be no more. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Vec<SocketAddr>> {
        let shared = Arc::clone(&self.resolver.0);
        loop {
            let changed = shared.changed.notified();
            while let Some(found) = shared.after(&mut self.seen) {
                self.on_found(found);
            }
            let is_over = self.is_over();
            let now = Instant::now();
            if !self.found.is_empty() && (is_over || self.hold_until.is_none_or(|at| at <= now)) {
                self.hold_until = None;
                return Some(std::mem::take(&mut self.found));
            }
            if is_over {
                return None;
            }
            let next = [self.split_at, self.hold_until].into_iter().flatten().min();
            tokio::select! {
                () = changed => {}
                () = sleep_until(next.unwrap_or(now)), if next.is_some() => self.split(),
            }
        }
    }

    /// Whether all results are known.
    pub(super) fn is_over(&self) -> bool {
        let [both, v4, v6] = self.jobs;
        both == Job::Done && !v4.is_running() && !v6.is_running()
            || v4 == Job::Done && v6 == Job::Done && self.error.is_none()
    }

    /// Why no address was found.
    pub(super) fn into_error(self) -> String {
        self.error.unwrap_or_else(|| "no address found".to_owned())
    }

    fn on_found(&mut self, Found { kind, job, result }: Found) {
        let is_ours = self.jobs[kind] == Job::Own(job) || self.jobs[kind] == Job::Shared;
        match result {
            // Addresses from an earlier attempt's lookup are welcome too.
            Ok(addresses) if !addresses.is_empty() => {
                if kind == BOTH {
                    return self.finish(addresses);
                }
                self.jobs[kind] = Job::Done;
                let v6_may_come = kind == V4 && self.jobs[V6] != Job::Done;
                if v6_may_come && self.hold_until.is_none() {
                    self.hold_until = Some(Instant::now() + RESOLUTION_DELAY);
                } else if kind == V6 {
                    self.hold_until = None;
                }
                // IPv6 first, as RFC 8305 has it.
                let at = if kind == V6 { 0 } else { self.found.len() };
                self.found.splice(at..at, addresses);
            }
            Ok(_) if is_ours => self.jobs[kind] = Job::Done,
            Err(error) if is_ours => {
                self.jobs[kind] = Job::Done;
                if kind == BOTH || self.error.is_none() {
                    self.error = Some(error);
                }
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Handles the addresses of both families.
    fn finish(&mut self, addresses: Vec<SocketAddr>) {
        self.jobs = [Job::Done; 3];
        (self.split_at, self.hold_until) = (None, None);
        self.found.extend(addresses);
    }

    fn split(&mut self) {
        if self.split_at.take_if(|at| *at <= Instant::now()).is_some() {
            for kind in [V4, V6] {
                if self.jobs[kind] == Job::None {
                    self.jobs[kind] = self.resolver.start(kind);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Mutex, mpsc};

    use super::*;
    use crate::testing::within;

    const FOUR: &str = "10.0.0.1:7";
    const SIX: &str = "[fd00::1]:7";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A lookup of which each kind is that of this job.
    fn waiting(jobs: [Job; 3]) -> Lookup {
        let resolver = Resolver::by("cloud.test".to_owned(), 7, |_, _, _| Ok(Vec::new()));
        Lookup { jobs, split_at: None, ..Lookup::new(&resolver) }
    }

    fn found(kind: usize, job: u64, result: Result<&str, &str>) -> Found {
        let result = result.map(|text| vec![address(text)]).map_err(str::to_owned);
        Found { kind, job, result }
    }

    async fn all(mut lookup: Lookup) -> (Vec<Vec<SocketAddr>>, String) {
        let mut found = Vec::new();
        while let Some(addresses) = within(lookup.next()).await {
            found.push(addresses);
        }
        (found, lookup.into_error())
    }

    #[tokio::test]
    async fn ipv6_has_50_ms_and_comes_first_then() {
        let (four, six) = (address(FOUR), address(SIX));
        let together = [vec![six, four]];
        let later = [vec![four], vec![six]];
        let first = [vec![six], vec![four]];
        let none = Err("none");
        for (after, events, expected, error) in [
            (0, [(V4, Ok(FOUR)), (V6, Ok(SIX))], &together[..], "no address found"),
            (200, [(V4, Ok(FOUR)), (V6, Ok(SIX))], &later[..], "no address found"),
            (200, [(V6, Ok(SIX)), (V4, Ok(FOUR))], &first[..], "no address found"),
            (200, [(V4, Ok(FOUR)), (V6, none)], &later[..1], "none"),
            (200, [(V4, none), (V6, Ok(SIX))], &first[..1], "none"),
            (200, [(V4, none), (V6, none)], &[], "none"),
        ] {
            let lookup = waiting([Job::Shared; 3]);
            let resolver = lookup.resolver.clone();
            let report = async {
                for (kind, result) in events {
                    // The lookup is over if an address of each family is known.
                    resolver.0.report(found(kind, 0, result));
                    if after > 0 {
                        tokio::time::sleep(Duration::from_millis(after)).await;
                    }
                }
                resolver.0.report(found(BOTH, 0, none));
            };
            let (found, ()) = tokio::join!(all(lookup), report);
            assert_eq!(found.0, expected, "{after} {events:?}");
            assert!(found.1 == error || found.1 == "none", "{}", found.1);
        }
    }

    #[tokio::test]
    async fn hanging_lookups_are_limited_and_their_results_shared() {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let resolver = Resolver::by("cloud.test".to_owned(), 7, move |_, _, _| {
            count.fetch_add(1, Ordering::Relaxed);
            // Until the other end is dropped.
            let _ = released.lock().unwrap().recv();
            Ok(vec![address(FOUR)])
        });
        let mut attempts: Vec<_> = (0..10).map(|_| resolver.lookup()).collect();
        for lookup in &mut attempts {
            let waited = tokio::time::timeout(SPLIT_AFTER + RESOLUTION_DELAY, lookup.next()).await;
            assert!(waited.is_err(), "{waited:?}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), KINDS.len() * MAX_LOOKUPS);
        drop(release);
        for lookup in &mut attempts {
            let found = within(lookup.next()).await.unwrap();
            assert!(found.iter().all(|found| *found == address(FOUR)), "{found:?}");
        }
        // They can be used again.
        assert!(within(resolver.lookup().next()).await.is_some());
    }

    #[tokio::test]
    async fn of_an_earlier_lookup_only_addresses_are_used() {
        for (results, expected, error) in [
            (
                [(1, Err("no network")), (2, Ok(FOUR))],
                &[vec![address(FOUR)]][..],
                "no address found",
            ),
            ([(1, Err("no network")), (2, Err("none"))], &[], "none"),
            ([(1, Ok(FOUR)), (2, Err("none"))], &[vec![address(FOUR)]], "no address found"),
        ] {
            let lookup = waiting([Job::Own(2), Job::None, Job::None]);
            for (job, result) in results {
                lookup.resolver.0.report(found(BOTH, job, result));
            }
            assert_eq!(all(lookup).await, (expected.to_vec(), error.to_owned()));
        }
    }

    #[tokio::test]
    async fn a_literal_address_is_not_looked_up() {
        for (host, expected) in [("10.0.0.1", FOUR), ("fd00::1", SIX)] {
            let resolver =
                Resolver::by(host.to_owned(), 7, |_, _, _| Err(io::Error::other("asked")));
            assert_eq!(all(resolver.lookup()).await.0, [[address(expected)]]);
        }
    }
}
