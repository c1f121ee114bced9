//! Delivers events to the webhooks of the configuration. They are kept in the store until the receiver
//! has accepted them, in order for each device, and never delay a device.

mod counters;
pub(crate) mod delivery;
mod duty;
mod in_flight;
mod intake;
mod kept;
mod queue_clock;
mod queue_name;
mod resolver;
mod retry;
mod tls_refusal;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use fedecks_store::{Clock, QueueStore};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::Leadership;
use crate::config::Webhook;
use crate::error::ServerError;
use crate::events::EventLog;

pub(crate) use counters::WebhookCounters;
pub(crate) use kept::KeptEvents;
pub(crate) use queue_name::queue_name;

/// How long storing the last events may take when the server ends.
pub(crate) const LAST_KEPT: Duration = Duration::from_secs(5);

/// The tasks that deliver, one for each webhook.
pub(crate) struct Webhooks {
    /// Each webhook's name and counters.
    pub(crate) counters: Vec<(String, Arc<WebhookCounters>)>,
    ended: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Webhooks {
    pub(crate) async fn start(
        webhooks: &[Webhook],
        store: Arc<dyn QueueStore>,
        (events, kept): (&EventLog, &KeptEvents),
        clock: &Clock,
        leads: &Leadership,
    ) -> Result<Self, ServerError> {
        let names: Vec<_> = webhooks.iter().map(|webhook| queue_name(&webhook.name)).collect();
        let (ended, end) = watch::channel(false);
        let mut started = Self { counters: Vec::new(), ended, tasks: JoinSet::new() };
        if leads.is_held() {
            keep_only(&*store, &names).await;
        } else {
            let (store, leads, mut end) = (store.clone(), leads.clone(), end.clone());
            started.tasks.spawn(async move {
                let begun = tokio::select! {
                    () = leads.begins() => true,
                    _ = end.wait_for(|ended| *ended) => false,
                };
                if begun {
                    keep_only(&*store, &names).await;
                }
            });
        }
        for (place, webhook) in webhooks.iter().enumerate() {
            let counters = Arc::new(WebhookCounters::default());
            let worker = {
                let counters = counters.clone();
                worker::Worker::new(
                    webhook,
                    store.clone(),
                    (events, kept, place),
                    (clock, leads),
                    counters,
                )?
            };
            started.tasks.spawn(worker.run_until(end.clone()));
            started.counters.push((webhook.name.clone(), counters));
        }
        Ok(started)
    }

    /// Stores the events that are still in the log, to be delivered after the next start. Call this after
    /// the last event.
    pub(crate) async fn end(mut self) {
        // Fails only if there are no webhooks.
        let _ = self.ended.send(true);
        let kept = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_KEPT, kept).await.is_err() {
            tracing::warn!("could not store the last events for webhooks in time");
        }
    }
}

/// Removes the queues of other webhooks than these.
async fn keep_only(store: &dyn QueueStore, names: &[String]) {
    match store.keep_only_queues(queue_name::PREFIX, names).await {
        Ok(0) => {}
        Ok(removed) => {
            tracing::warn!(removed, "removed events of webhooks that are no longer configured");
        }
        Err(error) => {
            tracing::warn!(%error, "cannot remove events of webhooks that are no longer configured");
        }
    }
}

/// Reads the files and secrets that each webhook needs.
pub(crate) fn check(webhooks: &[Webhook]) -> Result<(), ServerError> {
    for webhook in webhooks {
        delivery::Receiver::new(webhook, webhook.signing_secret()?)?;
    }
    Ok(())
}
