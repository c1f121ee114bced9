//! The other servers whose events this one gets, and what it has missed of them.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::packet::Header;

/// The other servers.
pub(super) struct Peers {
    of: HashMap<u64, Peer>,
    audience: watch::Sender<Audience>,
}

struct Peer {
    /// The sequence number of its next packet.
    expected: u64,
    heard: Instant,
}

/// Who gets this server's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Audience {
    pub(super) servers: usize,
    /// How many have ever come.
    pub(super) arrivals: u64,
}

/// What a packet says besides its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It follows the one before.
    Next,
    /// Something between is missing.
    AfterGap,
    /// It was there before.
    Again,
}

/// How often a server says that it is there, and how many packets it has published.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long a server that says nothing counts.
pub(super) const SILENCE: Duration = HEARTBEAT.saturating_mul(3);

/// How many other servers there are at most. The one that was heard least recently goes, with a gap.
const MAX: usize = 64;

impl Peers {
    pub(super) fn new(audience: watch::Sender<Audience>) -> Self {
        Self { of: HashMap::new(), audience }
    }

    /// Notes a packet.
    pub(super) fn hear(&mut self, header: &Header, has_events: bool) -> Heard {
        let now = Instant::now();
        let next = header.sequence.saturating_add(u64::from(has_events));
        let heard = match self.of.get_mut(&header.from) {
            Some(peer) if header.sequence < peer.expected => return Heard::Again,
            Some(peer) => {
                let is_next = header.sequence == peer.expected;
                *peer = Peer { expected: next, heard: now };
                if is_next { Heard::Next } else { Heard::AfterGap }
            }
            None if header.ended => return Heard::Next,
            None => {
                let is_full = self.of.len() >= MAX && self.forget_oldest();
                self.of.insert(header.from, Peer { expected: next, heard: now });
                self.audience.send_modify(|audience| audience.arrivals += 1);
                self.count();
                if header.sequence > 0 || is_full { Heard::AfterGap } else { Heard::Next }
            }
        };
        if header.ended {
            self.of.remove(&header.from);
            self.count();
        }
        heard
    }

    /// Forgets those that have been silent for too long; returns whether there were any.
    pub(super) fn forget_silent(&mut self) -> bool {
        let (before, now) = (self.of.len(), Instant::now());
        self.of.retain(|_, peer| now.duration_since(peer.heard) <= SILENCE);
        self.count();
        self.of.len() < before
    }

    fn forget_oldest(&mut self) -> bool {
        let oldest = self.of.iter().min_by_key(|(_, peer)| peer.heard).map(|(from, _)| *from);
        oldest.is_some_and(|from| self.of.remove(&from).is_some())
    }

    fn count(&self) {
        let servers = self.of.len();
        self.audience.send_if_modified(|audience| {
            let changes = audience.servers != servers;
            audience.servers = servers;
            changes
        });
    }
}
