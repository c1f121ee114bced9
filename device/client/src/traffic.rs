//! Counts what goes both ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// What has gone both ways since the start, over all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Traffic {
    /// Messages that were handed to a connection.
    pub messages_sent: u64,
    /// Messages that came.
    pub messages_received: u64,
    /// Bytes that were written to TCP, those of TLS and of the WebSocket's own included.
    pub bytes_sent: u64,
    /// Bytes that were read from TCP, counted likewise.
    pub bytes_received: u64,
}

/// Counts it; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    messages_sent: AtomicU64,
    messages_received: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

impl Meter {
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
