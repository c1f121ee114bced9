//! What the server counts of kept messages to devices.

use std::fmt;
use std::sync::atomic::AtomicU64;

use fedecks_store::DownSize;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use super::writer::{MetricSource, MetricsWriter};

type ByWord = Family<[(&'static str, &'static str); 1], Counter>;

/// Clones share the same counters.
#[derive(Debug, Clone)]
pub(crate) struct DeviceMessageCounters {
    pub(crate) accepted: Counter,
    waiting: Gauge<u64, AtomicU64>,
    waiting_bytes: Gauge<u64, AtomicU64>,
    settled: ByWord,
    refused: ByWord,
}

/// What a message may end as.
const STATES: [&str; 4] = ["delivered", "rejected", "expired", "dropped"];

/// Why a message may be refused.
const REASONS: [&str; 6] =
    ["too-big", "queue-full", "store-full", "key-reused", "clock-behind", "store-failed"];

impl Default for DeviceMessageCounters {
    /// Each of them is 0 at first: a rate over a counter that appears later would miss the first message.
    fn default() -> Self {
        let new = Self {
            accepted: Counter::default(),
            waiting: Gauge::default(),
            waiting_bytes: Gauge::default(),
            settled: ByWord::default(),
            refused: ByWord::default(),
        };
        for state in STATES {
            new.settled.get_or_create(&[("state", state)]).inc_by(0);
        }
        for reason in REASONS {
            new.refused.get_or_create(&[("reason", reason)]).inc_by(0);
        }
        new
    }
}

impl DeviceMessageCounters {
    /// What waits now.
    pub(crate) fn set_waiting(&self, DownSize { messages, bytes }: DownSize) {
        self.waiting.set(messages);
        self.waiting_bytes.set(bytes);
    }

    /// A message has reached its final state.
    pub(crate) fn count_settled(&self, state: &'static str) {
        self.settled.get_or_create(&[("state", state)]).inc();
    }

    /// A message was not accepted.
    pub(crate) fn count_refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }
}

impl MetricSource for DeviceMessageCounters {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        let help = "Messages that wait for devices in the store";
        to.metric("device_messages_waiting", None, help, &self.waiting)?;
        let help = "About how much of the store they take";
        let unit = Some(Unit::Bytes);
        to.metric("device_messages_waiting", unit, help, &self.waiting_bytes)?;
        let help = "Messages that were accepted to be kept for a device";
        to.metric("device_messages_accepted", None, help, &self.accepted)?;
        let help = "Kept messages to devices that have their final state, by state";
        to.metric("device_messages_settled", None, help, &self.settled)?;
        let help = "Messages that were not accepted to be kept for a device, by reason";
        to.metric("device_messages_refused", None, help, &self.refused)
    }
}
