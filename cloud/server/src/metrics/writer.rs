//! Writes single metrics for Prometheus. Which ones there are is up to the components that count them.

use std::fmt;

use fedecks_store::LatencyHistogram;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Unit;

/// A component that counts, and declares its metrics.
pub(crate) trait MetricSource: Send + Sync + 'static {
    /// Writes its metrics as they are now.
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result;
}

/// Writes metrics. A name gets the registry's prefix, its unit, and `_total` if it is a counter.
pub(crate) struct MetricsWriter<'a>(pub(super) DescriptorEncoder<'a>);

impl MetricsWriter<'_> {
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.metric(name, None, help, &ConstCounter::new(value))
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.metric(name, None, help, &ConstGauge::new(value))
    }

    pub(crate) fn metric<M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        metric: &M,
    ) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, unit.as_ref(), M::TYPE)?)
    }

    /// One metric with a value for each value of the label.
    pub(crate) fn labelled<M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (impl AsRef<str>, M)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), M::TYPE)?;
        for (value_of_label, value) in values {
            value.encode(metric.encode_family(&[(label, value_of_label.as_ref())])?)?;
        }
        Ok(())
    }

    pub(crate) fn latency(
        &mut self,
        name: &str,
        help: &str,
        histogram: &LatencyHistogram,
    ) -> fmt::Result {
        let bounds = LatencyHistogram::BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(histogram.counts).collect();
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Histogram);
        let mut metric = self.0.encode_descriptor(name, help, unit, kind)?;
        let (sum, count) = (histogram.seconds, histogram.count());
        metric.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
    }
}
