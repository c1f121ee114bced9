//! Events delivered to URLs of the configuration: kept in the store until the receiver has taken them,
//! in order for each device, and without ever holding up a device.

mod counters;
pub(crate) mod delivery;
mod lanes;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use fedecks_store::OutboxStore;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Webhook;
use crate::error::ServerError;
use crate::events::EventLog;

pub(crate) use counters::Counters;

/// How long the last events may take into the store when the server ends.
pub(crate) const LAST_KEPT: Duration = Duration::from_secs(5);

/// The tasks that deliver, one for each webhook.
pub(crate) struct Webhooks {
    counters: Vec<(String, Arc<Counters>)>,
    ended: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Webhooks {
    pub(crate) async fn start(
        webhooks: &[Webhook],
        store: Arc<dyn OutboxStore>,
        events: &EventLog,
    ) -> Result<Self, ServerError> {
        let names: Vec<_> = webhooks.iter().map(|webhook| webhook.name.clone()).collect();
        match store.outbox_keep_only(&names).await {
            Ok(0) => {}
            Ok(removed) => {
                tracing::warn!(removed, "removed events for webhooks that are not configured now");
            }
            Err(error) => tracing::warn!(%error, "cannot look after events for former webhooks"),
        }
        let (ended, end) = watch::channel(false);
        let mut started = Self { counters: Vec::new(), ended, tasks: JoinSet::new() };
        for webhook in webhooks {
            let counters = Arc::new(Counters::default());
            let worker = worker::Worker::new(webhook, store.clone(), events, counters.clone())?;
            started.tasks.spawn(worker.work(end.clone()));
            started.counters.push((webhook.name.clone(), counters));
        }
        Ok(started)
    }

    /// Each webhook's name with what it counts.
    pub(crate) fn counters(&self) -> Vec<(String, Arc<Counters>)> {
        self.counters.clone()
    }

    /// To be called once nothing happens any more: what happened last is put into the store, and is
    /// delivered when the server runs again.
    pub(crate) async fn end(mut self) {
        // Nobody listening is no error.
        let _ = self.ended.send(true);
        let kept = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_KEPT, kept).await.is_err() {
            tracing::warn!("the last events for webhooks could not be kept in time");
        }
    }
}

/// Reads what each webhook needs.
pub(crate) fn check(webhooks: &[Webhook]) -> Result<(), ServerError> {
    for webhook in webhooks {
        delivery::Receiver::new(webhook, webhook.signing_secret()?)?;
    }
    Ok(())
}
