//! Events delivered to URLs of the configuration: kept in the store until the receiver has taken them,
//! in order for each device, and without ever holding up a device.

mod delivery;
mod lanes;
mod signature;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fedecks_cloud::{Outbox, SqliteStore};
use tokio::sync::watch;

use super::events::EventLog;
use crate::cli::CliError;
use crate::config::Webhook;

pub(crate) use delivery::WebhookError;
pub(crate) use signature::SigningSecret;

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
}

/// Starts a task for each webhook. They end once `stopping` is true; what is in the store is delivered
/// when the server runs again. Returns each one's name with what it counts.
pub(crate) async fn start(
    webhooks: &[Webhook],
    store: &Arc<SqliteStore>,
    events: &EventLog,
    stopping: &watch::Receiver<bool>,
) -> Result<Vec<(String, Arc<Counters>)>, CliError> {
    let names: Vec<_> = webhooks.iter().map(|webhook| webhook.name.clone()).collect();
    match store.outbox_keep_only(&names).await {
        Ok(0) => {}
        Ok(removed) => {
            tracing::warn!(removed, "removed events for webhooks that are not configured any more");
        }
        Err(error) => tracing::warn!(%error, "cannot look after events for former webhooks"),
    }
    let mut started = Vec::new();
    for webhook in webhooks {
        let counters = Arc::new(Counters::default());
        let worker = worker::Worker::new(webhook, store.clone(), events, counters.clone())?;
        let mut stopping = stopping.clone();
        let name = webhook.name.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = worker.work() => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        });
        started.push((name, counters));
    }
    Ok(started)
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
