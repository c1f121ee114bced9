//! What the server counts itself, as it happens.

use fedecks_protocol::Refusal;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    pub(crate) connects: Counter,
    pub(crate) disconnects: Counter,
    pub(crate) messages: Counter,
    /// For whatever reason.
    pub(crate) all_refusals: Counter,
    pub(super) refused: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Counters {
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.all_refusals.inc();
        self.refused.get_or_create(&[("reason", refusal.reason())]).inc();
    }
}
