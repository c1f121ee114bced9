//! What the server's handler counts of its devices.

use std::fmt;

use fedecks_protocol::Refusal;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::writer::{MetricSource, MetricsWriter};

/// Clones share the same counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceCounters {
    pub(crate) connects: Counter,
    pub(crate) disconnects: Counter,
    pub(crate) messages: Counter,
    /// For any reason.
    pub(crate) refusals: Counter,
    refusals_by_reason: Family<[(&'static str, &'static str); 1], Counter>,
}

impl DeviceCounters {
    pub(crate) fn count_refusal(&self, refusal: Refusal) {
        self.refusals.inc();
        self.refusals_by_reason.get_or_create(&[("reason", refusal.reason())]).inc();
    }
}

impl MetricSource for DeviceCounters {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        to.metric("connects", None, "Device sessions that began", &self.connects)?;
        to.metric("disconnects", None, "Device sessions that ended", &self.disconnects)?;
        to.metric("messages_received", None, "Messages from devices", &self.messages)?;
        to.metric("refusals", None, "Refused connections, by reason", &self.refusals_by_reason)
    }
}
