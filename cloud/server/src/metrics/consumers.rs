//! How far the named consumers of the message log are, as metrics. They are read from the store now and then.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fedecks_store::{Store, StoreError};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::MissedTickBehavior;

use super::writer::{MetricSource, MetricsWriter};
use crate::cluster::Leadership;

/// How often they are read.
const INTERVAL: Duration = Duration::from_secs(10);

/// Clones share the same consumers.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogConsumers(Arc<Mutex<Vec<LogConsumer>>>);

#[derive(Debug, Clone)]
struct LogConsumer {
    name: String,
    waiting: u64,
    missed: u64,
}

impl LogConsumers {
    /// Reads them while this server leads. Never returns: run it as a separate task.
    pub(crate) async fn run(self, store: Arc<dyn Store>, leads: Leadership) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !leads.is_held() {
                self.0.lock().clear();
                continue;
            }
            if let Err(error) = self.read(&*store).await {
                tracing::debug!(%error, "cannot read how far the consumers of messages are");
            }
        }
    }

    async fn read(&self, store: &dyn Store) -> Result<(), StoreError> {
        let found = store.consumers().await?;
        let log = store.log_status().await?;
        let consumers = found.into_iter().map(|found| LogConsumer {
            waiting: (log.next - 1).saturating_sub(found.place.max(log.first - 1)),
            missed: found.missed,
            name: found.name,
        });
        *self.0.lock() = consumers.collect();
        Ok(())
    }
}

impl MetricSource for LogConsumers {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        let all = self.0.lock().clone();
        let waiting = all.iter().map(|it| (it.name.as_str(), ConstGauge::new(it.waiting)));
        let help = "Kept messages of devices in the log that a consumer has not acknowledged";
        to.labelled("consumer_waiting", None, help, "consumer", waiting)?;
        let missed = all.iter().map(|it| (it.name.as_str(), ConstCounter::new(it.missed)));
        let help = "Kept messages of devices that left the log before a consumer acknowledged them";
        to.labelled("consumer_missed", None, help, "consumer", missed)
    }
}
