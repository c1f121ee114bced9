//! What a node counts.

use std::sync::atomic::{AtomicU64, Ordering};

use fedecks_store::{Latency, LatencyHistogram};

/// What a node has counted since it started, and the number of devices that are connected to it.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct HubStats {
    /// Devices connected to this node.
    pub connected: usize,
    /// Bytes of memory that the messages take that arrive or are handled, see
    /// [`Options::received_bytes`](crate::Options::received_bytes).
    pub received_bytes_held: u64,
    /// Bytes that wait to be sent, see [`Options::queued_bytes`](crate::Options::queued_bytes).
    pub queued_bytes_held: u64,
    /// Sessions that ended because a message arrived too slowly while others waited for memory.
    pub overloaded: u64,
    /// Messages from devices that could not be decoded and were ignored.
    pub undecodable: u64,
    /// Tokens that had expired and were accepted because of
    /// [`Options::token_grace`](crate::Options::token_grace).
    pub late_tokens: u64,
    /// Sessions that ended because the device read too slowly.
    pub too_slow: u64,
    /// Sessions that ended because a callback of the handler panicked or hung.
    pub handler_failures: u64,
    /// Messages that were sent to devices, from their queues or as outcomes of callbacks.
    pub messages_sent: u64,
    /// Kept messages of devices that were stored.
    pub kept_received: u64,
    /// Kept messages of devices that were rejected for good.
    pub kept_rejected: u64,
    /// Kept messages that the handler was given although it may have had them before.
    pub kept_redelivered: u64,
    /// Sessions that ended because the device violated the protocol of kept messages.
    pub kept_violations: u64,
    /// Kept messages that were sent to devices, each as often as it was sent.
    pub kept_sent: u64,
    /// Those that may have been sent before.
    pub kept_sent_again: u64,
    /// Kept messages that devices have taken.
    pub kept_delivered: u64,
    /// Messages for devices that were dropped because the device's queue was full.
    pub queue_full: u64,
    /// Bytes received from devices in their sessions, as WebSocket frames, up to the close handshake;
    /// without the overhead of TLS and TCP.
    pub bytes_received: u64,
    /// Bytes sent to devices, counted in the same way, and the response to an upgrade that is accepted before HTTP.
    pub bytes_sent: u64,
    /// How long the callbacks of the handler took.
    pub handler: LatencyHistogram,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) undecodable: AtomicU64,
    pub(crate) overloaded: AtomicU64,
    pub(crate) late_tokens: AtomicU64,
    pub(crate) too_slow: AtomicU64,
    pub(crate) handler_failures: AtomicU64,
    pub(crate) messages_sent: AtomicU64,
    pub(crate) kept_received: AtomicU64,
    pub(crate) kept_rejected: AtomicU64,
    pub(crate) kept_redelivered: AtomicU64,
    pub(crate) kept_violations: AtomicU64,
    pub(crate) kept_sent: AtomicU64,
    pub(crate) kept_sent_again: AtomicU64,
    pub(crate) kept_delivered: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) handler: Latency,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> HubStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HubStats {
            overloaded: load(&self.overloaded),
            undecodable: load(&self.undecodable),
            late_tokens: load(&self.late_tokens),
            too_slow: load(&self.too_slow),
            handler_failures: load(&self.handler_failures),
            messages_sent: load(&self.messages_sent),
            kept_received: load(&self.kept_received),
            kept_rejected: load(&self.kept_rejected),
            kept_redelivered: load(&self.kept_redelivered),
            kept_violations: load(&self.kept_violations),
            kept_sent: load(&self.kept_sent),
            kept_sent_again: load(&self.kept_sent_again),
            kept_delivered: load(&self.kept_delivered),
            queue_full: load(&self.queue_full),
            bytes_received: load(&self.bytes_received),
            bytes_sent: load(&self.bytes_sent),
            handler: self.handler.snapshot(),
            ..HubStats::default()
        }
    }
}
