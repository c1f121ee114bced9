//! What the server's handler counts of its devices.

use std::fmt;

use fedecks_protocol::Refusal;
use fedecks_store::RegisteredBy;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::writer::{MetricSource, MetricsWriter};
use crate::event_kind::EventKind;

/// Clones share the same counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceCounters {
    pub(crate) connects: Counter,
    pub(crate) disconnects: Counter,
    pub(crate) messages: Counter,
    /// For any reason.
    pub(crate) refusals: Counter,
    refusals_by_reason: Family<[(&'static str, &'static str); 1], Counter>,
    registrations: Family<[(&'static str, &'static str); 2], Counter>,
}

impl DeviceCounters {
    pub(crate) fn count_refusal(&self, refusal: Refusal) {
        self.refusals.inc();
        self.refusals_by_reason.get_or_create(&[("reason", refusal.reason())]).inc();
    }

    pub(crate) fn count_registration(&self, by: &RegisteredBy, result: EventKind) {
        let by = match by {
            RegisteredBy::Account(_) => "account",
            RegisteredBy::Claim(_) => "claim",
            RegisteredBy::Certificate { .. } => "certificate",
            _ => "other",
        };
        self.registrations.get_or_create(&[("by", by), ("result", result.as_str())]).inc();
    }
}

impl MetricSource for DeviceCounters {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        to.metric("connects", None, "Device sessions that began", &self.connects)?;
        to.metric("disconnects", None, "Device sessions that ended", &self.disconnects)?;
        to.metric("messages_received", None, "Messages from devices", &self.messages)?;
        to.metric("refusals", None, "Refused connections, by reason", &self.refusals_by_reason)?;
        let about = "Devices that were registered or have returned, by what";
        to.metric("registrations", None, about, &self.registrations)
    }
}
