//! Whether the clock can be believed, as metrics.

use std::fmt;

use fedecks_store::Clock;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::writer::{MetricSource, MetricsWriter};

impl MetricSource for Clock {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        let behind = ConstGauge::new(self.behind().unwrap_or_default().as_secs());
        let help = "How far the clock is below its floor; above 0 every device is refused";
        to.metric("clock_behind", Some(Unit::Seconds), help, &behind)?;
        let synchronized = u64::from(self.is_synchronized());
        to.gauge("clock_synchronized", "1 if the kernel calls its clock synchronized", synchronized)
    }
}
