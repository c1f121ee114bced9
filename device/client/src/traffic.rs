//! Counters of messages and bytes in both directions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Traffic since the start, summed over all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages handed to a connection.
    pub messages_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Bytes written to TCP, including the overhead of TLS and WebSocket.
    pub bytes_sent: u64,
    /// Bytes read from TCP, including the same overhead.
    pub bytes_received: u64,
}

/// The counters; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrafficCounters(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    messages_sent: AtomicU64,
    messages_received: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

impl TrafficCounters {
    pub(crate) fn message_sent(&self) {
        self.0.messages_sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn message_received(&self) {
        self.0.messages_received.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn bytes_sent(&self, count: usize) {
        self.0.bytes_sent.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn bytes_received(&self, count: usize) {
        self.0.bytes_received.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Traffic {
        Traffic {
            messages_sent: self.0.messages_sent.load(Ordering::Relaxed),
            messages_received: self.0.messages_received.load(Ordering::Relaxed),
            bytes_sent: self.0.bytes_sent.load(Ordering::Relaxed),
            bytes_received: self.0.bytes_received.load(Ordering::Relaxed),
        }
    }
}
