//! Connects to the address that answers first: Happy Eyeballs (RFC 8305). TLS is part of the race, since a broken
//! path or a dead balancer often completes the TCP handshake and nothing more.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use fedecks_device_core::{Candidate, Phase};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use super::error::{DialError, Failures, Step};
use super::history::Probation;
use super::progress::Progress;
use super::resolver::Lookup;
use super::target::Target;
use crate::tls::VerifiedPeer;
use crate::transport::{MeteredStream, Transport};

/// The delay before the next address is tried while earlier ones have not answered; the value that
/// RFC 8305 recommends.
pub(super) const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The same for an address with a recent failure, and while a TLS handshake makes no progress. On a link that is just
/// slow it costs a connection that is not used.
const TLS_PATIENCE: Duration = Duration::from_secs(3);

/// How long to wait for further addresses when all that are known have failed.
const LAST_ADDRESSES: Duration = Duration::from_secs(2);

/// The addresses of one attempt.
pub(super) struct Race<'a> {
    target: &'a Target,
    lookup: Lookup,
    waiting: VecDeque<Candidate>,
    /// All addresses that were ever waiting.
    seen: Vec<SocketAddr>,
    start_next: Instant,
    failures: Failures,
}

/// A connection to an address, secured if the target demands it.
pub(super) struct Established {
    pub(super) transport: Transport,
    pub(super) peer: Option<VerifiedPeer>,
    pub(super) address: SocketAddr,
    pub(super) probation: Probation,
}

impl<'a> Race<'a> {
    /// Returns as soon as there is an address.
    pub(super) async fn begin(target: &'a Target, mut lookup: Lookup) -> Result<Self, DialError> {
        let Some(addresses) = lookup.next().await else {
            let host = target.url.host().to_str().into_owned();
            return Err(DialError::Resolve { host, error: lookup.into_error() });
        };
        let mut race = Self {
            target,
            lookup,
            waiting: VecDeque::new(),
            seen: Vec::new(),
            start_next: Instant::now(),
            failures: Failures::default(),
        };
        race.add(&addresses);
        Ok(race)
    }

    /// Whether an address without a recent failure is still to be tried.
    pub(super) fn has_fresh(&self) -> bool {
        self.waiting.iter().any(|candidate| !candidate.suspect)
    }

    /// The error of an attempt in which every address has failed.
    pub(super) fn into_error(self) -> DialError {
        self.failures.into_error(self.target.url.host().to_str().into_owned())
    }

    /// Adds the failure of an established connection.
    pub(super) fn failed(&mut self, address: SocketAddr, problem: &str) {
        self.failures.add(Step::Upgrade, address, problem);
    }

    /// Connects to one of the addresses that are left; `None` if all have failed. Dropping the future aborts all
    /// attempts.
    pub(super) async fn next(
        &mut self,
        progress: &mut Progress<impl FnMut(Phase)>,
    ) -> Option<Established> {
        let mut connecting = Running::new();
        let mut started: Vec<Candidate> = Vec::new();
        let mut securing = Running::new();
        self.start_next = Instant::now();
        loop {
            let idle = connecting.is_empty() && securing.is_empty();
            let is_last = idle && self.waiting.is_empty() && !self.lookup.is_over();
            tokio::select! {
                biased;
                (address, probation, result) = poll_fn(|cx| poll_any(&mut securing, cx)), if !securing.is_empty() => match result {
                    Ok((stream, peer)) => {
                        let (transport, peer) = (Transport::Tls(Box::new(stream)), Some(peer));
                        // If this one fails later, those that have not answered yet are tried again.
                        for candidate in started.drain(..).rev() {
                            self.waiting.push_front(candidate);
                        }
                        return Some(Established { transport, peer, address, probation });
                    }
                    Err(problem) => {
                        self.failures.add(Step::Tls, address, problem);
                        self.hurry(connecting.is_empty() && securing.is_empty());
                    }
                },
                (address, result) = poll_fn(|cx| poll_any(&mut connecting, cx)), if !connecting.is_empty() => {
                    started.retain(|other| other.address != address);
                    let tcp = match result {
                        Ok(tcp) => MeteredStream::new(tcp, self.target.traffic.clone()),
                        Err(error) => {
                            self.failures.add(Step::Tcp, address, error);
                            self.hurry(connecting.is_empty() && securing.is_empty());
                            continue;
                        }
                    };
                    let probation = self.target.history.connected(address);
                    // The others are not needed, or not yet.
                    connecting.clear();
                    for candidate in started.drain(..).rev() {
                        self.waiting.push_front(candidate);
                    }
                    let Some(tls) = &self.target.tls else {
                        let transport = Transport::Plain(tcp);
                        return Some(Established { transport, peer: None, address, probation });
                    };
                    progress.enter(Phase::Tls);
                    let host = self.target.url.host();
                    securing.push(Box::pin(async move { (address, probation, tls.connect(host, tcp).await) }));
                    self.start_next = Instant::now() + TLS_PATIENCE;
                }
                addresses = self.lookup.next(), if !self.lookup.is_over() => {
                    self.add(&addresses.unwrap_or_default());
                    if securing.is_empty() {
                        self.hurry(connecting.is_empty());
                    }
                }
                () = sleep_until(self.start_next), if !self.waiting.is_empty() => {
                    if let Some(candidate) = self.waiting.pop_front() {
                        started.push(candidate);
                        connecting.push(Box::pin(connect_to(candidate.address)));
                    }
                    self.start_next = Instant::now() + self.delay();
                }
                () = sleep(LAST_ADDRESSES), if is_last => return None,
                else => return None,
            }
        }
    }

    fn add(&mut self, addresses: &[SocketAddr]) {
        let fresh = addresses.iter().filter(|address| !self.seen.contains(address));
        let fresh: Vec<_> = fresh.copied().collect();
        self.seen.extend(&fresh);
        let waiting = self.waiting.iter().map(|candidate| candidate.address);
        let all: Vec<_> = fresh.into_iter().chain(waiting).collect();
        self.waiting = self.target.history.order(&all).into();
    }

    /// The delay between the address that was started last and the next one.
    fn delay(&self) -> Duration {
        match self.waiting.front() {
            Some(next) if next.suspect => TLS_PATIENCE,
            Some(_) | None => CONNECTION_ATTEMPT_DELAY,
        }
    }

    /// Starts the next address at once if that is all there is to do, or if it has not failed recently.
    fn hurry(&mut self, idle: bool) {
        if idle || self.waiting.front().is_some_and(|next| !next.suspect) {
            self.start_next = Instant::now();
        }
    }
}

/// Futures of which the first result counts. They are so few that each is polled every time.
type Running<'a, T> = Vec<Pin<Box<dyn Future<Output = T> + Send + 'a>>>;

fn poll_any<T>(running: &mut Running<'_, T>, context: &mut Context<'_>) -> Poll<T> {
    for index in 0..running.len() {
        if let Poll::Ready(result) = running[index].as_mut().poll(context) {
            drop(running.swap_remove(index));
            return Poll::Ready(result);
        }
    }
    Poll::Pending
}

async fn connect_to(address: SocketAddr) -> (SocketAddr, io::Result<TcpStream>) {
    let connected = TcpStream::connect(address).await.and_then(|stream| {
        // Messages are small, and the sender waits for the response.
        stream.set_nodelay(true)?;
        Ok(stream)
    });
    (address, connected)
}

#[cfg(test)]
mod tests {
    use fedecks_protocol::{Dialect, Limits};
    use futures_util::FutureExt;
    use tokio::net::{TcpListener, TcpSocket};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::testing::{Cloud, first, target, trusted_time};

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        (listener, at)
    }

    /// An address that does not answer, and a guard that keeps it so.
    async fn silent() -> (SocketAddr, impl Sized) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let at = listener.local_addr().unwrap();
        // Linux drops connection requests while the backlog is full, and on the loopback it is full as
        // soon as these have begun.
        let mut held = Vec::new();
        for _ in 0..8 {
            let mut connecting = Box::pin(TcpStream::connect(at));
            held.push(((&mut connecting).now_or_never().map(Result::unwrap), connecting));
        }
        (at, (listener, held))
    }

    /// The addresses in this order, without TLS.
    async fn connect(target: &Target, addresses: &[SocketAddr]) -> Result<SocketAddr, String> {
        let lookup = target.resolver.known(addresses);
        let mut race = Race::begin(target, lookup).await.unwrap();
        match race.next(&mut Progress::new(|_| {})).await {
            Some(Established { transport: Transport::Plain(stream), address, .. }) => {
                assert!(stream.nodelay().unwrap());
                Ok(address)
            }
            Some(_) => panic!("not plain"),
            None => Err(race.into_error().to_string()),
        }
    }

    #[tokio::test]
    async fn a_bad_address_is_skipped_and_every_failure_is_reported() {
        let (_listener, good) = listen().await;
        let (silent, _held) = silent().await;
        // Without IPv6 connecting fails too, which is equivalent.
        for (bad, delay) in
            [("[::1]:1".parse().unwrap(), Duration::ZERO), (silent, CONNECTION_ATTEMPT_DELAY)]
        {
            let began = Instant::now();
            let target = target("ws://cloud.test", &Limits::default());
            assert_eq!(connect(&target, &[bad, good]).await, Ok(good));
            assert!(began.elapsed() >= delay, "{bad}");
        }

        let (first, second) = (listen().await.1, listen().await.1);
        let target = target("ws://cloud.test", &Limits::default());
        let failures = connect(&target, &[first, second]).await.unwrap_err();
        let refused = "Connection refused (os error 111)";
        let expected = format!("{first}: {refused}; {second}: {refused}");
        assert_eq!(failures, format!("cannot connect to cloud.test: {expected}"));
    }

    #[tokio::test]
    async fn a_suspect_that_connects_quickly_does_not_win() {
        let (_first, suspect) = listen().await;
        let (second, good) = listen().await;
        let target = target("ws://cloud.test", &Limits::default());
        drop(target.history.connected(suspect));
        assert_eq!(connect(&target, &[suspect, good]).await, Ok(good));
        // Without another one it is tried at once.
        drop(second);
        assert_eq!(connect(&target, &[suspect, good]).await, Ok(suspect));
    }

    #[tokio::test]
    async fn an_address_that_is_overtaken_by_tls_is_not_lost() {
        let cloud = Cloud::new("localhost");
        let acceptor = TlsAcceptor::from(cloud.config.clone());
        let (listener, slow) = listen().await;
        let server = async move {
            let (tcp, _) = listener.accept().await.unwrap();
            // The other one is being connected to by then.
            sleep(TLS_PATIENCE + CONNECTION_ATTEMPT_DELAY).await;
            acceptor.accept(tcp).await
        };
        let server = tokio::spawn(server);
        let (silent, _held) = silent().await;
        let (time, limits) =
            (trusted_time(first(2025, 6), first(2025, 7), &cloud.directory), Limits::default());
        let (url, options) = ("wss://localhost".parse().unwrap(), cloud.options());
        let target = Target::new(url, &options, time, Dialect::Bincode, &limits).unwrap();
        let lookup = target.resolver.known(&[slow, silent]);
        let mut race = Race::begin(&target, lookup).await.unwrap();
        let established = race.next(&mut Progress::new(|_| {})).await.unwrap();
        assert_eq!(established.address, slow);
        assert!(race.has_fresh(), "the other address is left");
        server.await.unwrap().unwrap();
    }
}
