//! Connects to the address that answers first, so that broken IPv6 costs a quarter of a second and not
//! the attempt: Happy Eyeballs (RFC 8305) without its part about DNS queries.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

/// The delay before the next address is tried while earlier ones have not answered; the value that
/// RFC 8305 recommends.
const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Number of addresses that are tried. A name with more of them is misconfigured.
const MAX_ADDRESSES: usize = 16;

/// The error of each address.
#[derive(Debug)]
pub(crate) struct Failures(Vec<(SocketAddr, io::Error)>);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (address, error)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{address}: {error}")?;
        }
        Ok(())
    }
}

/// Connects to one of `addresses`, alternating between IPv6 and IPv4, beginning with the family that the
/// resolver put first. Dropping the future aborts all attempts.
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, Failures> {
    let mut waiting = interleave(addresses).into_iter();
    let mut running = FuturesUnordered::new();
    let mut failures = Vec::new();
    let mut start_next = Instant::now();
    loop {
        tokio::select! {
            biased;
            Some((address, result)) = running.next(), if !running.is_empty() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    failures.push((address, error));
                    start_next = Instant::now();
                }
            },
            () = sleep_until(start_next), if waiting.len() > 0 => {
                running.extend(waiting.next().map(connect_to));
                start_next = Instant::now() + CONNECTION_ATTEMPT_DELAY;
            }
            else => return Err(Failures(failures)),
        }
    }
}

async fn connect_to(address: SocketAddr) -> (SocketAddr, io::Result<TcpStream>) {
    let connected = TcpStream::connect(address).await.and_then(|stream| {
        // Messages are small, and the sender waits for the response.
        stream.set_nodelay(true)?;
        Ok(stream)
    });
    (address, connected)
}

fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let pairs = (0..MAX_ADDRESSES).flat_map(|index| [first.get(index), second.get(index)]);
    pairs.flatten().take(MAX_ADDRESSES).copied().collect()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_alternate_between_families_and_are_limited() {
        let addresses = ["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1", "10.0.0.2:1"].map(address);
        let expected = ["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"].map(address);
        assert_eq!(interleave(addresses.to_vec()), expected);
        let v4_first = ["10.0.0.1:1", "10.0.0.2:1", "[::1]:1"].map(address);
        let expected = ["10.0.0.1:1", "[::1]:1", "10.0.0.2:1"].map(address);
        assert_eq!(interleave(v4_first.to_vec()), expected);
        assert_eq!(interleave(vec![address("[::1]:1"); 1_000]).len(), MAX_ADDRESSES);
        assert_eq!(interleave(Vec::new()), []);
    }

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        (listener, at)
    }

    /// An address that does not answer, and a guard that keeps it so.
    async fn silent() -> (SocketAddr, impl Sized) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(address("127.0.0.1:0")).unwrap();
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

    #[tokio::test]
    async fn a_bad_address_is_skipped_and_every_failure_is_reported() {
        let (_listener, good) = listen().await;
        let (silent, _held) = silent().await;
        // Without IPv6 connecting fails too, which is equivalent.
        for (bad, delay) in
            [(address("[::1]:1"), Duration::ZERO), (silent, CONNECTION_ATTEMPT_DELAY)]
        {
            let began = Instant::now();
            let stream = connect(vec![bad, good]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good);
            assert!(began.elapsed() >= delay, "{bad}");
            assert!(stream.nodelay().unwrap());
        }

        let bad = listen().await.1;
        let failures = connect(vec![bad, bad]).await.unwrap_err().to_string();
        let refused = format!("{bad}: Connection refused (os error 111)");
        assert_eq!(failures, format!("{refused}; {refused}"));
    }
}
