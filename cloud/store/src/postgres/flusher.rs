//! The task that writes the notes about once a second, and notices when another database has taken the place of this one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::audit_log::AuditLog;
use super::batches::{Batch, Batches};
use super::call::{self, ANSWER_GRACE, CALL_TIMEOUT, Kind, Tx};
use super::columns::{get, later_of, text, to_column};
use super::failure::Failure;
use super::lease_calls::{self, END_TIME};
use super::seen_notes::write_seen;
use super::shared::Shared;
use crate::error::StoreError;
use crate::known_logins::KnownLogin;
use crate::notes::Pending;

/// The interval between flushes. The short one is for the tests in this crate only.
const INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 1000 });

/// How long [`run`] may take once the store is closed: for the flush that is in progress, the last one, and the end of
/// the lease.
pub(super) const CLOSE_TIME: Duration =
    CALL_TIMEOUT.saturating_add(ANSWER_GRACE).saturating_mul(2).saturating_add(END_TIME);

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushed {
    /// Everything that was pending is written, or all but a little.
    Enough,
    /// Much is pending still.
    More,
    Failed,
    /// Nothing can be written, as the store has no lease.
    NoLease,
}

/// Runs until the store is closed, then writes what is left, in the time that any call has.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut batches = Batches::new();
    let mut is_failing = false;
    'open: loop {
        let is_closing = timeout(INTERVAL, shared.closing.notified()).await.is_ok();
        if is_closing {
            break;
        }
        tokio::select! {
            () = check(&shared) => {}
            () = shared.closing.notified() => break,
        }
        loop {
            let deadline = Instant::now() + CALL_TIMEOUT;
            if flush(&shared, deadline, &mut batches, &mut is_failing).await != Flushed::More {
                break;
            }
            if timeout(Duration::ZERO, shared.closing.notified()).await.is_ok() {
                break 'open;
            }
        }
    }
    let deadline = Instant::now() + CALL_TIMEOUT;
    while shared.notes.len() > 0 && Instant::now() < deadline {
        match flush(&shared, deadline, &mut batches, &mut is_failing).await {
            Flushed::Enough | Flushed::More => {}
            Flushed::Failed => sleep_until(deadline.min(Instant::now() + INTERVAL)).await,
            // It gets none any more.
            Flushed::NoLease => break,
        }
    }
    let lost = shared.notes.len();
    if lost > 0 {
        tracing::warn!(store = %shared.location, lost, "closing the store with unwritten notes");
    } else {
        batches.forget(&shared, deadline).await;
    }
    // After the last write.
    lease_calls::end_own_lease(&shared).await;
    shared.lease_pool.close();
    shared.pool.close();
}

/// Looks which database this is. If there is none, the calls say so.
async fn check(shared: &Shared) {
    let look = async {
        if let Ok(client) = shared.pool.get().await {
            if shared.identities.check(&client).await.is_err() {
                drop(deadpool_postgres::Client::take(client));
            }
        }
    };
    // Given up on the way, the connection returns to the pool; the next answer on it is not taken for another's.
    let _ = timeout(CALL_TIMEOUT, look).await;
}

/// Writes what is pending, up to a number, in one transaction. If that fails, it is written by the next flush.
async fn flush(
    shared: &Shared,
    deadline: Instant,
    batches: &mut Batches,
    is_failing: &mut bool,
) -> Flushed {
    let Some(batch) = batches.next(shared) else { return Flushed::Enough };
    let args = (batch, shared.log);
    let written = call::run(shared.target(), Kind::Write, deadline, &args, |tx, args| {
        let (batch, log) = args;
        Box::pin(write(tx, batch, *log))
    });
    let store = &shared.location;
    match written.await {
        Ok(()) => {
            shared.notes.written();
            if std::mem::take(is_failing) {
                let (dropped, audit_dropped) = shared.notes.dropped();
                tracing::info!(%store, dropped, audit_dropped, "the store can be written again");
            }
            if shared.notes.is_much() { Flushed::More } else { Flushed::Enough }
        }
        Err(error) => {
            batches.unwritten = Some(args.0.notes);
            if !matches!(error, StoreError::Busy { .. }) {
                shared.counters.failed();
            }
            if !std::mem::replace(is_failing, true) {
                tracing::warn!(%store, %error, "cannot write to the store; keeping last-seen times in memory");
            }
            if matches!(error, StoreError::NoLease { .. }) {
                Flushed::NoLease
            } else {
                Flushed::Failed
            }
        }
    }
}

async fn write(tx: &Tx, batch: &Batch, log: AuditLog) -> Result<(), Failure> {
    let notes = &batch.notes;
    // Writing other notes again changes nothing.
    if !notes.audit.is_empty() && !batch.is_new(tx).await? {
        return Ok(());
    }
    let seen: Vec<_> = notes.seen.iter().map(|(device, seen)| (device.as_str(), *seen)).collect();
    write_seen(tx, seen).await?;
    write_used(tx, notes).await?;
    write_logins(tx, notes).await?;
    if notes.audit.is_empty() { Ok(()) } else { log.add(tx, &notes.audit).await }
}

/// Notes when API tokens were used last, if they still exist.
async fn write_used(tx: &Tx, pending: &Pending) -> Result<(), Failure> {
    // In order, so that two servers do not wait for each other.
    let used: BTreeMap<_, _> = pending.used.iter().map(|(name, at)| (text(name), at)).collect();
    let sql = format!(
        "UPDATE api_tokens SET last_used = {} WHERE name = $1",
        later_of("last_used", "$2::bigint")
    );
    for (name, at) in used {
        tx.execute(&sql, &[&name, &to_column(*at)]).await?;
    }
    Ok(())
}

/// Notes from where accounts were used, if they still exist.
async fn write_logins(tx: &Tx, pending: &Pending) -> Result<(), Failure> {
    if pending.logins.is_empty() {
        return Ok(());
    }
    let mut logins: Vec<_> = pending
        .logins
        .iter()
        .map(|((account, network), at)| (text(account), network.to_string(), to_column(*at)))
        .collect();
    logins.sort_unstable();
    let accounts: Vec<&str> = logins.iter().map(|(account, _, _)| account.as_ref()).collect();
    // No one removes these until the notes are there to be removed with them.
    let lock = "SELECT name FROM accounts WHERE name = ANY ($1) ORDER BY name FOR KEY SHARE";
    tx.query(lock, &[&accounts]).await?;
    let networks: Vec<&str> = logins.iter().map(|(_, network, _)| network.as_str()).collect();
    let times: Vec<i64> = logins.iter().map(|(_, _, at)| *at).collect();
    let note = format!(
        "INSERT INTO known_logins AS known (account, network, last_used)
         SELECT account, network, at FROM unnest($1::text[], $2::text[], $3::bigint[])
             AS note (account, network, at)
         WHERE EXISTS (SELECT 1 FROM accounts WHERE name = account) ORDER BY account, network
         ON CONFLICT (account, network) DO UPDATE SET last_used = {}",
        later_of("known.last_used", "excluded.last_used")
    );
    tx.execute(&note, &[&accounts, &networks, &times]).await?;
    bound_logins(tx).await
}

/// Drops pairs above the maximum: one by one the least recent of the account that has the most, and of several such
/// accounts the least recent of all.
async fn bound_logins(tx: &Tx) -> Result<(), Failure> {
    let count = tx.query_one("SELECT count(*) FROM known_logins", &[]).await?;
    let above = get::<i64>(&count, 0)? - i64::from(KnownLogin::MAX);
    if above > 0 {
        let sql = "DELETE FROM known_logins WHERE (account, network) IN (
            SELECT account, network FROM (
                SELECT account, network, last_used, row_number() OVER (
                    PARTITION BY account ORDER BY last_used DESC, network) AS place
                FROM known_logins) AS ranked
            ORDER BY place DESC, last_used LIMIT $1)";
        tx.execute(sql, &[&above]).await?;
    }
    Ok(())
}
