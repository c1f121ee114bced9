//! What `/metrics` shows. Each metric is declared once, by the component that counts it. No metric names
//! a device: the labels have few values, whatever happens.

mod certificates;
mod classic;
mod clock;
mod consumers;
mod device_messages;
mod devices;
mod libraries;
mod log;
mod process;
mod requests;
mod writer;

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

pub(crate) use consumers::LogConsumers;
pub(crate) use device_messages::DeviceMessageCounters;
pub(crate) use devices::DeviceCounters;
pub(crate) use requests::DeviceRequests;
pub(crate) use writer::{MetricSource, MetricsWriter};

/// All components that count. Clones share them.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<RwLock<Registry>>);

impl Metrics {
    /// With the metrics of the process and its log.
    pub(crate) fn new() -> Self {
        let metrics = Self(Arc::new(RwLock::new(Registry::with_prefix("fedecks"))));
        metrics.register(process::Process);
        metrics.register(log::LogLines);
        metrics
    }

    pub(crate) fn register(&self, source: impl MetricSource) {
        self.0.write().register_collector(Box::new(Collected(source)));
    }

    /// The metrics as they are now, as OpenMetrics text.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0.read())?;
        Ok(text)
    }

    /// The same in Prometheus' older text format.
    pub(crate) fn classic_text(&self) -> Result<String, fmt::Error> {
        Ok(classic::from_open_metrics(&self.text()?))
    }
}

/// A source as the registry takes it.
struct Collected<S>(S);

impl<S> fmt::Debug for Collected<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collected(…)")
    }
}

impl<S: MetricSource> Collector for Collected<S> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.collect(&mut MetricsWriter(encoder))
    }
}
