//! Connects to whichever address answers first, so that a broken IPv6 costs a quarter of a second
//! and not the attempt (RFC 8305, without the part about names).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

/// After how long the next address is tried beside those that have not answered. RFC 8305 gives
/// this number.
const HEAD_START: Duration = Duration::from_millis(250);

/// How many addresses are tried. A name with more has something else wrong with it.
const MAX_ADDRESSES: usize = 16;

/// What went wrong with each address.
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

/// Connects to one of `addresses`, IPv6 and IPv4 by turns, beginning with the family that the
/// resolver put first. Whatever is still under way is dropped with the future.
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, Failures> {
    let mut waiting = by_turns(addresses).into_iter();
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
                start_next = Instant::now() + HEAD_START;
            }
            else => return Err(Failures(failures)),
        }
    }
}

async fn connect_to(address: SocketAddr) -> (SocketAddr, io::Result<TcpStream>) {
    let connected = TcpStream::connect(address).await.and_then(|stream| {
        // Messages are small and somebody waits for the answer.
        stream.set_nodelay(true)?;
        Ok(stream)
    });
    (address, connected)
}

fn by_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    while ordered.len() < MAX_ADDRESSES {
        let turn = [first.next(), second.next()];
        if turn == [None, None] {
            break;
        }
        ordered.extend(turn.into_iter().flatten());
    }
    ordered.truncate(MAX_ADDRESSES);
    ordered
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
    fn families_take_turns_and_the_number_is_bounded() {
        let addresses = ["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1", "10.0.0.2:1"].map(address);
        let expected = ["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"].map(address);
        assert_eq!(by_turns(addresses.to_vec()), expected);
        let v4_first = ["10.0.0.1:1", "10.0.0.2:1", "[::1]:1"].map(address);
        let expected = ["10.0.0.1:1", "[::1]:1", "10.0.0.2:1"].map(address);
        assert_eq!(by_turns(v4_first.to_vec()), expected);
        assert_eq!(by_turns(vec![address("[::1]:1"); 1_000]).len(), MAX_ADDRESSES);
        assert_eq!(by_turns(Vec::new()), []);
    }

    /// An address where nobody listens.
    async fn refusing(host: &str) -> SocketAddr {
        TcpListener::bind((host, 0)).await.unwrap().local_addr().unwrap()
    }

    /// An address that answers nobody any more, and what keeps it so.
    async fn silent() -> (SocketAddr, impl Sized) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(address("127.0.0.1:0")).unwrap();
        let listener = socket.listen(1).unwrap();
        let at = listener.local_addr().unwrap();
        // Linux drops what comes when the backlog is full, and on the loopback it is full as soon
        // as these were begun.
        let mut held = Vec::new();
        for _ in 0..8 {
            let mut connecting = Box::pin(TcpStream::connect(at));
            held.push(((&mut connecting).now_or_never().map(Result::unwrap), connecting));
        }
        (at, (listener, held))
    }

    #[tokio::test]
    async fn an_ipv6_address_that_refuses_gives_way_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        // Where there is no IPv6 at all, connecting fails as well, and that is the same to us.
        let stream = connect(vec![address("[::1]:1"), good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_gives_way_after_its_head_start() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (bad, _held) = silent().await;
        let good = listener.local_addr().unwrap();
        let began = Instant::now();
        let stream = connect(vec![bad, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(began.elapsed() >= HEAD_START);
    }

    #[tokio::test]
    async fn every_failure_is_told() {
        let bad = refusing("127.0.0.1").await;
        let failures = connect(vec![bad, bad]).await.unwrap_err().to_string();
        let refused = format!("{bad}: Connection refused (os error 111)");
        assert_eq!(failures, format!("{refused}; {refused}"));
    }
}
