//! How single metrics are written for Prometheus.

use std::fmt;

use fedecks_store::LatencyHistogram;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// One metric with a value for each of the label's.
pub(super) fn labelled<'a, M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    label: &str,
    values: impl Iterator<Item = (&'a str, M)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit, M::TYPE)?;
    for (of, value) in values {
        value.encode(metric.encode_family(&[(label, of)])?)?;
    }
    Ok(())
}

pub(super) fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    count: u64,
) -> fmt::Result {
    let kind = ConstCounter::<u64>::TYPE;
    ConstCounter::new(count).encode(encoder.encode_descriptor(name, help, None, kind)?)
}

pub(super) fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> fmt::Result {
    let kind = ConstGauge::<i64>::TYPE;
    ConstGauge::new(number(value)).encode(encoder.encode_descriptor(name, help, None, kind)?)
}

pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn latency(mut metric: MetricEncoder<'_>, histogram: &LatencyHistogram) -> fmt::Result {
    let bounds = LatencyHistogram::BOUNDS.iter().copied().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(histogram.counts).collect();
    metric.encode_histogram::<[(&str, &str); 0]>(
        histogram.seconds,
        histogram.count(),
        &buckets,
        None,
    )
}
