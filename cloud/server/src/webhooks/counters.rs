//! The delivery counters of a webhook, as metrics.

use std::fmt;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{MetricSource, MetricsWriter};

#[derive(Debug, Default)]
pub(crate) struct WebhookCounters {
    pub(super) delivered: Counter,
    /// Attempts that failed; each is retried.
    pub(super) failed: Counter,
    /// Events that were given up: too old, too many, or missed before they were in the store.
    pub(super) dropped: Counter,
    /// Events that the receiver rejected, and that are kept as dead letters.
    pub(super) parked: Counter,
    /// Events in the store that wait to be delivered.
    pub(super) pending: AtomicU64,
    /// About how many bytes of the store they take.
    pub(super) pending_bytes: AtomicU64,
}

/// Of all webhooks, by name.
impl MetricSource for Vec<(String, Arc<WebhookCounters>)> {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        type Field<T> = fn(&WebhookCounters) -> &T;
        let counters: [(&str, &str, Field<Counter>); 4] = [
            ("webhook_delivered", "Delivered events", |of| &of.delivered),
            ("webhook_failed", "Deliveries that failed and are retried", |of| &of.failed),
            ("webhook_dropped", "Events that were given up", |of| &of.dropped),
            ("webhook_parked", "Events that the receiver rejected", |of| &of.parked),
        ];
        for (name, help, field) in counters {
            let values = self.iter().map(|(webhook, of)| (webhook, field(of).clone()));
            to.labelled(name, None, help, "webhook", values)?;
        }
        let gauges: [(Option<Unit>, &str, Field<AtomicU64>); 2] = [
            (None, "Events that wait to be delivered", |of| &of.pending),
            (Some(Unit::Bytes), "Size of the events that wait to be delivered", |of| {
                &of.pending_bytes
            }),
        ];
        for (unit, help, field) in gauges {
            let value = |of| ConstGauge::new(field(of).load(Ordering::Relaxed));
            let values = self.iter().map(|(webhook, of)| (webhook, value(of)));
            to.labelled("webhook_pending", unit, help, "webhook", values)?;
        }
        Ok(())
    }
}
