//! Events delivered to URLs of the configuration: kept in the store until the receiver has taken them,
//! in order for each device, and without ever holding up a device.

mod delivery;
mod lanes;
mod signature;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fedecks_cloud::{Outbox, SqliteStore};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::events::EventLog;
use crate::cli::CliError;
use crate::config::Webhook;

pub(crate) use delivery::WebhookError;
pub(crate) use signature::SigningSecret;

/// How long the last events may take into the store when the server ends.
pub(super) const LAST_KEPT: Duration = Duration::from_secs(5);

/// What a webhook has counted since the server began.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) delivered: AtomicU64,
    /// Attempts that failed; each is made again.
    pub(crate) failed: AtomicU64,
    /// Events that were given up: too old, too many, or missed before they were in the store.
    pub(crate) dropped: AtomicU64,
    /// Events in the store that wait for their turn.
    pub(crate) pending: AtomicU64,
    /// How many bytes they are.
    pub(crate) pending_bytes: AtomicU64,
}

/// The tasks that deliver, one for each webhook.
pub(crate) struct Webhooks {
    counters: Vec<(String, Arc<Counters>)>,
    ended: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Webhooks {
    pub(crate) async fn start(
        webhooks: &[Webhook],
        store: &Arc<SqliteStore>,
        events: &EventLog,
    ) -> Result<Self, CliError> {
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
pub(crate) fn check(webhooks: &[Webhook]) -> Result<(), CliError> {
    for webhook in webhooks {
        delivery::Receiver::new(webhook, webhook.signing_secret()?)?;
    }
    Ok(())
}

impl Counters {
    fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}
