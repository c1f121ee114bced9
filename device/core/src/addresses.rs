//! The order in which the addresses of the cloud are tried. It does not know which of them are connected to,
//! or how; the driver reports what became of those that were.

// That of `core`, which has no sockets.
use core::net::SocketAddr;
use std::time::Duration;

use crate::time::Time;

/// Remembers which addresses accepted a TCP connection and then failed: in the TLS handshake, in the upgrade,
/// or before the first message. They are tried last.
#[derive(Debug, Clone, Default)]
pub struct AddressHistory {
    /// The oldest failure first.
    failed: Vec<(SocketAddr, Time)>,
}

/// An address to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The address.
    pub address: SocketAddr,
    /// It has failed recently, so that the others deserve more time before it is tried.
    pub suspect: bool,
}

impl AddressHistory {
    /// The number of addresses that are tried, and the number of failures that are remembered. A name with more
    /// addresses is misconfigured.
    pub const MAX_ADDRESSES: usize = 16;

    /// How long a failure counts. What RFC 6555, section 4.2, recommends for such a memory: in the meantime the
    /// network may be another, or repaired.
    pub const MAX_AGE: Duration = Duration::from_secs(600);

    /// An address has accepted a TCP connection. It counts as failed until it has answered, so that an attempt that
    /// is abandoned needs no report.
    pub fn connected(&mut self, now: Time, address: SocketAddr) {
        self.answered(address);
        if self.failed.len() == Self::MAX_ADDRESSES {
            self.failed.remove(0);
        }
        self.failed.push((address, now));
    }

    /// The cloud has answered at this address, with a refusal or with its first message.
    pub fn answered(&mut self, address: SocketAddr) {
        self.failed.retain(|(failed, _)| *failed != address);
    }

    /// The order in which to try `addresses`: first those that have not failed recently, alternating between IPv6 and
    /// IPv4 and beginning with the family of the first one; then the others, the oldest failure first.
    pub fn order(&self, now: Time, addresses: &[SocketAddr]) -> Vec<Candidate> {
        let is_recent = |at: Time| now.since(at) < Self::MAX_AGE;
        let failed = self
            .failed
            .iter()
            .filter(|(address, at)| is_recent(*at) && addresses.contains(address));
        let suspects: Vec<_> = failed.map(|(address, _)| *address).collect();
        let mut good = Vec::new();
        for address in addresses {
            if !suspects.contains(address) && !good.contains(address) {
                good.push(*address);
            }
        }
        let mut candidates = Vec::new();
        for (addresses, suspect) in [(interleave(good), false), (suspects, true)] {
            candidates.extend(addresses.into_iter().map(|address| Candidate { address, suspect }));
        }
        candidates.truncate(Self::MAX_ADDRESSES);
        candidates
    }
}

fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::new();
    loop {
        let pair = (first.next(), second.next());
        all.extend(pair.0);
        all.extend(pair.1);
        if pair == (None, None) {
            return all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses<const N: usize>(texts: [&str; N]) -> [SocketAddr; N] {
        texts.map(|text| text.parse().unwrap())
    }

    fn at(seconds: u64) -> Time {
        Time::new(Duration::from_secs(seconds))
    }

    fn order(history: &AddressHistory, now: Time, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        history.order(now, addresses).iter().map(|candidate| candidate.address).collect()
    }

    #[test]
    fn addresses_alternate_between_families_and_are_limited() {
        let none = AddressHistory::default();
        for (given, expected) in [
            (
                addresses(["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1", "10.0.0.2:1"]),
                addresses(["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"]),
            ),
            (
                addresses(["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[::1]:1", "10.0.0.4:1"]),
                addresses(["10.0.0.1:1", "[::1]:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"]),
            ),
        ] {
            assert_eq!(order(&none, at(0), &given), expected);
            assert!(none.order(at(0), &given).iter().all(|candidate| !candidate.suspect));
        }
        assert_eq!(order(&none, at(0), &addresses(["[::1]:1"; 100])), addresses(["[::1]:1"]));
        let many: Vec<_> = (0..1_000).map(|port| ([10, 0, 0, 1], port).into()).collect();
        assert_eq!(order(&none, at(0), &many), many[..AddressHistory::MAX_ADDRESSES]);
        assert_eq!(order(&none, at(0), &[]), []);
    }

    #[test]
    fn what_failed_goes_last_until_it_answers_or_ten_minutes_pass() {
        let all = addresses(["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1"]);
        let [a, b, c, d] = all;
        let mut history = AddressHistory::default();
        history.connected(at(0), a);
        assert_eq!(order(&history, at(1), &all), [b, c, d, a]);
        history.connected(at(1), b);
        assert_eq!(order(&history, at(2), &all), [c, d, a, b]);
        let suspects = history.order(at(2), &all).into_iter().filter(|it| it.suspect);
        assert_eq!(suspects.map(|it| it.address).collect::<Vec<_>>(), [a, b]);
        // When all have failed, they take turns.
        history.connected(at(3), c);
        history.connected(at(4), d);
        history.connected(at(5), a);
        assert_eq!(order(&history, at(6), &all), [b, c, d, a]);
        history.answered(c);
        assert_eq!(order(&history, at(7), &all), [c, b, d, a]);
        assert_eq!(order(&history, at(604), &all), [b, c, d, a]);
        assert_eq!(order(&history, at(605), &all), all);
    }

    #[test]
    fn failures_are_limited_in_number() {
        let mut history = AddressHistory::default();
        let many: Vec<SocketAddr> = (0..1_000).map(|port| ([10, 0, 0, 1], port).into()).collect();
        for address in &many {
            history.connected(at(0), *address);
        }
        let kept = &many[many.len() - AddressHistory::MAX_ADDRESSES..];
        assert!(history.order(at(0), kept).iter().all(|candidate| candidate.suspect));
        assert_eq!(history.failed.len(), AddressHistory::MAX_ADDRESSES);
    }
}
