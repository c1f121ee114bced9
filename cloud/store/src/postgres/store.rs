//! The store: how it is opened and closed, and its calls.

use std::sync::Arc;
use std::time::Duration;

use fedecks_protocol::DeviceId;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::audit_log::AuditLog;
use super::call::{self, CALL_TIMEOUT, Kind, Tx, Work};
use super::connection;
use super::flusher;
use super::identity::Identities;
use super::lanes::{DEFAULT_CONNECTIONS, Lane, Lanes, MIN_CONNECTIONS};
use super::lease_gate::LeaseGate;
use super::location::Location;
use super::schema::{self, IfEmpty};
use super::shared::Shared;
use crate::audit::{Actor, AuditAction, AuditEntry, AuditLimits};
use crate::boxed::StoreFuture;
use crate::counters::Counters;
use crate::epoch::Epoch;
use crate::error::StoreError;
use crate::notes::WriteBehind;
use crate::refused_before::RefusedBefore;
use crate::stats::{StoreMonitor, StoreStats};
use crate::time::unix_now;

/// The store in a PostgreSQL database, which several servers may share.
///
/// Calls run on a few connections, with a limit for each kind, so that no kind delays another. Every call is answered
/// within about 6 seconds. It survives failures of the server and of the connections to it: while there is none, calls
/// fail and notes are kept, and then they work again.
///
/// Everything runs in the Tokio runtime in which the store was opened. [`PostgresStore::close`] writes the pending
/// notes and waits for that; dropping the store has them written without waiting for it.
pub struct PostgresStore {
    pub(super) shared: Arc<Shared>,
    runtime: Handle,
    flusher: Mutex<Option<JoinHandle<()>>>,
}

/// Settings of a [`PostgresStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// How much the audit log keeps.
    pub audit: AuditLimits,
    /// The largest number of connections; values below [`PostgresOptions::MIN_CONNECTIONS`] count as that. They are
    /// opened when they are needed. One more is for leases.
    pub connections: u16,
    /// Whether nothing is written without a lease, see [`LeaseGate`].
    pub needs_lease: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { audit: AuditLimits::default(), connections: DEFAULT_CONNECTIONS, needs_lease: false }
    }
}

impl PostgresOptions {
    /// The smallest number of connections: with fewer, one kind of calls would delay another.
    pub const MIN_CONNECTIONS: u16 = MIN_CONNECTIONS;

    /// These settings after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl PostgresStore {
    /// Opens the store at a URL, such as `postgres://user:password@host:5432/database`, and makes its tables first if
    /// the database has none. A program that must not lose revocations and blocks with a wrong database uses
    /// [`PostgresStore::open_existing`].
    ///
    /// The connection is encrypted, and the server's certificate verified, unless the URL has `sslmode=disable` or the
    /// server is on this machine. `sslrootcert` is a file with the certificates to verify it by; without it, those of
    /// the system.
    pub async fn open(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        Self::start(url, options, IfEmpty::Create).await
    }

    /// Opens the store at a URL, see [`PostgresStore::open`]. A database of an older version is migrated to the current
    /// one. Fails with [`StoreError::Empty`] if the database has no tables.
    pub async fn open_existing(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        Self::start(url, options, IfEmpty::Reject).await
    }

    /// Fails as [`PostgresStore::open_existing`] would with what it finds at the URL, and changes nothing.
    pub async fn check(url: &str) -> Result<(), StoreError> {
        let location = Location::parse(url)?;
        let pool = connection::pool(&location, 1, None)?;
        schema::check(&pool, &location.shown).await
    }

    async fn start(
        url: &str,
        options: PostgresOptions,
        if_empty: IfEmpty,
    ) -> Result<Self, StoreError> {
        let location = Location::parse(url)?;
        let first = connection::pool(&location, 1, None)?;
        schema::prepare(&first, &location.shown, if_empty).await?;
        first.close();
        let identities = Arc::new(Identities::default());
        let connections = options.connections.max(MIN_CONNECTIONS);
        let pool = connection::pool(&location, connections.into(), Some(identities.clone()))?;
        let shared = Arc::new(Shared {
            pool,
            lease_pool: connection::pool(&location, 1, None)?,
            gate: options.needs_lease.then(LeaseGate::default),
            notes: WriteBehind::default(),
            counters: Counters::default(),
            identities,
            log: AuditLog { limits: options.audit },
            refused_before: RefusedBefore::default(),
            lanes: Lanes::new(connections),
            closing: Notify::new(),
            location: location.shown,
        });
        let flusher = Mutex::new(Some(tokio::spawn(flusher::run(shared.clone()))));
        Ok(Self { shared, runtime: Handle::current(), flusher })
    }

    /// Until when this store writes, if it needs a lease.
    pub fn lease_gate(&self) -> Option<&LeaseGate> {
        self.shared.gate.as_ref()
    }

    /// How long [`PostgresStore::close`] may take.
    pub const CLOSE_TIME: Duration = flusher::CLOSE_TIME;

    /// Closes the store: writes the pending notes, and waits for that, in the time that any call has. Then it ends its
    /// lease, if it needs one, also one that it has asked for without an answer. Later calls fail with
    /// [`StoreError::Closed`].
    pub async fn close(&self) {
        self.shared.closing.notify_one();
        // Kept until it has ended, as the caller may stop to wait, and begin again.
        let mut flusher = self.flusher.lock().await;
        if let Some(running) = flusher.as_mut() {
            // A task that panicked has nothing left to write.
            let _ = running.await;
            *flusher = None;
        }
    }

    /// Runs `read` with `args`. Each of its statements sees what is committed when it begins.
    pub(super) fn read<A, T>(
        &self,
        lane: Lane,
        args: A,
        read: impl for<'t> Fn(&'t Tx, &'t A) -> Work<'t, T> + Send + Sync + 'static,
    ) -> StoreFuture<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        self.call(Kind::Read, lane, args, read)
    }

    /// Runs `read` with `args`, under the lease if there has to be one. All of its statements see the same, for which
    /// nothing has to wait.
    pub(super) fn read_snapshot<A, T>(
        &self,
        lane: Lane,
        args: A,
        read: impl for<'t> Fn(&'t Tx, &'t A) -> Work<'t, T> + Send + Sync + 'static,
    ) -> StoreFuture<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        self.call(Kind::Snapshot, lane, args, read)
    }

    /// Runs `change` with `args` as one transaction. It is run again if the database has rolled it back for another
    /// one, or the connection is lost before it was committed.
    pub(super) fn write<A, T>(
        &self,
        lane: Lane,
        args: A,
        change: impl for<'t> Fn(&'t Tx, &'t A) -> Work<'t, T> + Send + Sync + 'static,
    ) -> StoreFuture<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        self.call(Kind::Write, lane, args, change)
    }

    /// [`PostgresStore::write`], with a line for the audit log if `change` returns something. If it returns `None`, it
    /// changed nothing.
    pub(super) fn write_audited<A, T>(
        &self,
        lane: Lane,
        line: Line,
        args: A,
        change: impl for<'t> Fn(&'t Tx, &'t A) -> Work<'t, Option<T>> + Send + Sync + 'static,
    ) -> StoreFuture<'_, Option<T>>
    where
        A: Send + Sync + 'static,
        T: Send + Sync + 'static,
    {
        let log = self.shared.log;
        let args = (args, line, change);
        self.write(lane, args, move |tx, (args, line, change)| {
            Box::pin(async move {
                let changed = change(tx, args).await?;
                if changed.is_some() {
                    log.add(tx, &[line.entry(unix_now())]).await?;
                }
                Ok(changed)
            })
        })
    }

    /// [`PostgresStore::write_audited`] for one statement, which returns the number of rows that it changed. Returns
    /// whether it changed any.
    pub(super) fn execute_audited<A>(
        &self,
        lane: Lane,
        line: Line,
        args: A,
        change: impl for<'t> Fn(&'t Tx, &'t A) -> Work<'t, u64> + Send + Sync + 'static,
    ) -> StoreFuture<'_, bool>
    where
        A: Send + Sync + 'static,
    {
        let changed = self.write_audited(lane, line, (args, change), |tx, (args, change)| {
            Box::pin(async move { Ok((change(tx, args).await? > 0).then_some(())) })
        });
        Box::pin(async move { Ok(changed.await?.is_some()) })
    }

    fn call<A, T>(
        &self,
        kind: Kind,
        lane: Lane,
        args: A,
        work: impl for<'t> Fn(&'t Tx, &'t A) -> Work<'t, T> + Send + Sync + 'static,
    ) -> StoreFuture<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        let since = Instant::now();
        let deadline = since + CALL_TIMEOUT;
        Box::pin(async move {
            let Some(turn) = self.shared.lanes.turn(lane, deadline).await else {
                return Err(self.busy());
            };
            let shared = self.shared.clone();
            let call = async move {
                let result = call::run(shared.target(), kind, deadline, &args, work).await;
                drop(turn);
                shared.count(kind.action(), since, &result);
                result
            };
            self.in_task(kind, call).await
        })
    }

    /// Runs a call in a task, so that a caller who drops this future does not interrupt a change.
    pub(super) async fn in_task<T: Send + 'static>(
        &self,
        kind: Kind,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.runtime.spawn(call).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => {
                self.shared.counters.failed();
                Err(StoreError::failed(
                    &self.shared.location,
                    kind.action().as_str(),
                    "it panicked",
                ))
            }
            Err(_) => Err(StoreError::Closed { location: self.shared.location.clone() }),
        }
    }

    /// The error of a call that does not get its turn.
    pub(super) fn busy(&self) -> StoreError {
        self.shared.counters.refused();
        StoreError::Busy { location: self.shared.location.clone() }
    }
}

/// A line for the audit log about a change that is not made yet.
pub(super) struct Line {
    pub(super) by: Actor,
    pub(super) action: AuditAction,
    pub(super) device: Option<DeviceId>,
    pub(super) detail: Option<String>,
}

impl Line {
    pub(super) fn new(by: &Actor, action: AuditAction) -> Self {
        Self { by: by.clone(), action, device: None, detail: None }
    }

    pub(super) fn of(by: &Actor, action: AuditAction, device: &DeviceId) -> Self {
        Self { device: Some(device.clone()), ..Self::new(by, action) }
    }

    pub(super) fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    pub(super) fn entry(&self, at: u64) -> AuditEntry {
        let Self { by, action, device, detail } = self;
        let (by, device, detail) = (by.clone(), device.clone(), detail.clone());
        AuditEntry { at, by, action: *action, device, detail }
    }
}

impl Epoch for PostgresStore {
    fn epoch(&self) -> u64 {
        self.shared.identities.changes()
    }
}

impl StoreMonitor for PostgresStore {
    fn stats(&self) -> StoreStats {
        self.shared.counters.snapshot(&self.shared.notes, self.epoch())
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.shared.closing.notify_one();
    }
}
