//! What the API counts of its requests to devices.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fedecks_store::Latency;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::writer::{MetricSource, MetricsWriter};

/// Clones share the same counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceRequests {
    by_outcome: Family<[(&'static str, &'static str); 1], Counter>,
    answered: Arc<Latency>,
}

impl DeviceRequests {
    /// A request is over; the outcome is one of a few words.
    pub(crate) fn count(&self, outcome: &'static str, took: Duration) {
        self.by_outcome.get_or_create(&[("outcome", outcome)]).inc();
        self.answered.add(took);
    }
}

impl MetricSource for DeviceRequests {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        let help = "Requests to devices, by outcome";
        to.metric("device_requests", None, help, &self.by_outcome)?;
        let help = "How long requests to devices took";
        to.latency("device_request_duration", help, &self.answered.snapshot())
    }
}
