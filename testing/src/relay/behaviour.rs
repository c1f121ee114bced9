//! How a direction of a relay treats packets, and what it has done.

use std::time::Duration;

use super::filter::Filter;

/// How packets in one direction are treated.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// From one end to the other.
    pub delay: Duration,
    /// A random time up to this is added to each delay. Packets never overtake each other.
    pub jitter: Duration,
    /// The probability with which a packet is lost, from 0 to 1.
    pub loss: f64,
    /// Packets that any of these matches vanish.
    pub swallow: Vec<Filter>,
    /// How many bytes pass in a second; the others wait. `None`: any number.
    pub bytes_per_second: Option<u64>,
    /// How many bytes may be in transit. A packet for which there is no room is lost.
    pub queue: usize,
}

impl Default for Behaviour {
    /// Everything passes at once.
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            swallow: Vec::new(),
            bytes_per_second: None,
            queue: 1024 * 1024,
        }
    }
}

impl Behaviour {
    /// Everything passes after this delay.
    pub fn delayed(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// Packets that match vanish, others pass at once.
    pub fn swallowing(filter: Filter) -> Self {
        Self { swallow: vec![filter], ..Self::default() }
    }
}

/// Counts of the packets in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Arrived at the other end.
    pub passed: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Swallowed by a filter.
    pub swallowed: u64,
    /// Lost because the queue had no room.
    pub overflowed: u64,
    /// The bytes in transit.
    pub queued: usize,
    /// The most bytes that ever were.
    pub most_queued: usize,
}
