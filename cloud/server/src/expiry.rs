//! Deletes what has become too old, for as long as the clock can be trusted. What is too many, the store
//! deletes itself.

use std::sync::Arc;
use std::time::Duration;

use fedecks_store::{Clock, Store, StoreError};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::cluster::Leadership;
use crate::device_messages::DeviceMessages;

const INTERVAL: Duration = Duration::from_secs(60);

/// How long the log keeps the kept messages of devices, in seconds: a week.
const LOG_AGE: u64 = 7 * 24 * 3600;

/// About how many bytes of the store the log takes: 1 GiB.
const LOG_BYTES: u64 = 1024 * 1024 * 1024;

/// How soon a kept message to a device is seen to have expired.
const MESSAGES_INTERVAL: Duration = Duration::from_secs(1);

/// How often those that wait are counted.
const MEASURE_INTERVAL: Duration = Duration::from_secs(10);

/// Has kept messages to devices expire while this server leads, by the clock by which their sessions do, until the
/// server stops.
pub(crate) async fn run_messages(
    messages: DeviceMessages,
    mut stopped: watch::Receiver<bool>,
    leads: Leadership,
) {
    let mut ticks = tokio::time::interval(MESSAGES_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut measured: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        if !leads.is_held() {
            messages.measure_nothing();
            measured = None;
            continue;
        }
        if let Err(error) = messages.expire().await {
            tracing::debug!(%error, "cannot look for messages to devices that have expired");
        }
        if measured.is_none_or(|at| at.elapsed() >= MEASURE_INTERVAL) {
            measured = Some(Instant::now());
            if let Err(error) = messages.measure().await {
                tracing::debug!(%error, "cannot count the messages to devices");
            }
        }
    }
}

/// Deletes while this server leads. Never returns: run it as a separate task.
pub(crate) async fn run(store: Arc<dyn Store>, clock: Clock, leads: Leadership) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !leads.is_held() {
            continue;
        }
        if let Err(error) = expire(&*store, &clock).await {
            tracing::debug!(%error, "cannot delete what is too old");
        }
    }
}

/// Deletes step by step, so that others get their turn.
async fn expire(store: &dyn Store, clock: &Clock) -> Result<(), StoreError> {
    while clock.is_trusted() && store.expire_audit(clock.now()).await? > 0 {}
    while clock.is_trusted() && store.expire_claims(clock.now()).await? > 0 {}
    while clock.is_trusted() && store.expire_dead_letters(clock.now()).await? > 0 {}
    let before = if clock.is_trusted() { clock.now().saturating_sub(LOG_AGE) } else { 0 };
    store.trim_log(before, LOG_BYTES).await?;
    if clock.is_trusted() { store.expire_known_logins(clock.now()).await } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use fedecks_store::{
        AccountStore, Actor, AuditQuery, AuditStore, ManualClock, SqliteStore, unix_now,
    };

    use super::*;

    #[tokio::test]
    async fn nothing_expires_by_a_clock_that_is_not_trusted() {
        let store = SqliteStore::in_memory().unwrap();
        for name in ["first", "second"] {
            store.add_account(name, "hash", &Actor::cli()).await.unwrap();
        }
        let (now, years) = (unix_now(), 3 * 365 * 86_400);
        for (time, synchronized, floor, left) in [
            (now, true, 0, 2),
            (now + years, false, 0, 2),
            (now + years, true, now + years + 1, 2),
            // The newest stays.
            (now + years, true, 0, 1),
        ] {
            let manual = ManualClock::default();
            manual.set(time, synchronized);
            expire(&store, &Clock::new(manual, floor)).await.unwrap();
            let entries = store.audit_page(&AuditQuery::default()).await.unwrap().len();
            assert_eq!(entries, left, "{:?}", (time - now, synchronized, floor));
        }
    }
}
