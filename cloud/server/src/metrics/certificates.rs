//! When the listeners' certificates expire, as a metric.

use std::collections::BTreeMap;
use std::fmt;

use fedecks_cloud::serve::Tls;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::writer::{MetricSource, MetricsWriter};

impl MetricSource for Vec<Tls> {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        // Listeners may share a certificate, and Prometheus takes no series twice.
        let expiries: BTreeMap<_, _> = self
            .iter()
            .filter_map(|tls| {
                let file = tls.certificate().display().to_string();
                Some((file, ConstGauge::new(tls.not_after()?)))
            })
            .collect();
        let help = "When a certificate expires, in seconds since 1970";
        let name = "certificate_expiry_timestamp";
        to.labelled(name, Some(Unit::Seconds), help, "file", expiries)
    }
}
