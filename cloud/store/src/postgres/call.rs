//! One call: attempts with connections of the pool, each in a transaction if it is a change, until its deadline.

use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{Client, Pool, PoolError, TimeoutType};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::error::Severity;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::columns::{id_to_column, to_column};
use super::failure::{Failure, Remedy};
use super::lease_gate::LeaseGate;
use crate::counters::Action;
use crate::error::StoreError;
use crate::nodes::NodeLease;

/// How long a call may wait for its turn, for the database and for other calls.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after its deadline the answer to a call may arrive: the server gives up at the deadline.
pub(super) const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// How long the first pause before another attempt is at most; each is longer than the last one.
const PAUSE: Duration = Duration::from_millis(20);

/// The work of a call, on its way.
pub(super) type Work<'t, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 't>>;

/// What the work of a call has: a connection, and in a change a transaction. Dropping it closes the connection, which
/// may have an open transaction then, also if the work has panicked.
pub(super) struct Tx(Option<Client>);

/// The values of a statement.
pub(super) type Values<'v> = &'v [&'v (dyn ToSql + Sync)];

impl Tx {
    fn client(&self) -> Result<&Client, Failure> {
        self.0.as_ref().ok_or(Failure::NoConnection(PoolError::Closed))
    }

    async fn prepare(&self, sql: &str) -> Result<Statement, Failure> {
        Ok(self.client()?.prepare_cached(sql).await?)
    }

    /// Runs a statement, and returns how many rows it changed.
    pub(super) async fn execute(&self, sql: &str, values: Values<'_>) -> Result<u64, Failure> {
        let statement = self.prepare(sql).await?;
        Ok(self.client()?.execute(&statement, values).await?)
    }

    pub(super) async fn query(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, Failure> {
        let statement = self.prepare(sql).await?;
        Ok(self.client()?.query(&statement, values).await?)
    }

    pub(super) async fn query_opt(
        &self,
        sql: &str,
        values: Values<'_>,
    ) -> Result<Option<Row>, Failure> {
        let statement = self.prepare(sql).await?;
        Ok(self.client()?.query_opt(&statement, values).await?)
    }

    pub(super) async fn query_one(&self, sql: &str, values: Values<'_>) -> Result<Row, Failure> {
        let statement = self.prepare(sql).await?;
        Ok(self.client()?.query_one(&statement, values).await?)
    }

    /// A statement that differs from time to time, so that it is not kept prepared.
    pub(super) async fn query_once(&self, sql: &str) -> Result<Row, Failure> {
        Ok(self.client()?.query_one(sql, &[]).await?)
    }

    /// Several statements without values.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Failure> {
        Ok(self.client()?.batch_execute(sql).await?)
    }

    /// Returns the connection to the pool: it has no open transaction, and no answer to come.
    fn release(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Client::take(client));
        }
    }
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It reads. Each of its statements sees what is committed when it begins.
    Read,
    /// It reads what a server hands out, and all of its statements see the same. Nothing has to wait for it.
    Snapshot,
    /// It is a transaction that changes something.
    Write,
}

impl Kind {
    pub(super) fn action(self) -> Action {
        match self {
            Self::Read | Self::Snapshot => Action::Read,
            Self::Write => Action::Write,
        }
    }
}

/// How an attempt ended.
enum Attempt<T> {
    Done(T),
    Failed(Failure),
    /// Without an answer to COMMIT.
    Unknown,
}

/// Where calls run.
#[derive(Clone, Copy)]
pub(super) struct Target<'s> {
    pub(super) pool: &'s Pool,
    pub(super) location: &'s str,
    /// If changes are made only under a lease.
    pub(super) gate: Option<&'s LeaseGate>,
}

impl Target<'_> {
    /// The lease under which a change may be made, if it needs one.
    fn lease(&self) -> Result<Option<NodeLease>, Failure> {
        let Some(gate) = self.gate else { return Ok(None) };
        gate.lease().map(Some).ok_or_else(|| self.no_lease())
    }

    fn no_lease(&self) -> Failure {
        Failure::Refused(StoreError::NoLease { location: self.location.to_owned() })
    }
}

/// Runs `work` until it succeeds, or another attempt would not help, or it is too late.
pub(super) async fn run<A, T>(
    target: Target<'_>,
    kind: Kind,
    deadline: Instant,
    args: &A,
    work: impl for<'t> Fn(&'t Tx, &'t A) -> Work<'t, T>,
) -> Result<T, StoreError> {
    let location = target.location;
    let busy = || StoreError::Busy { location: location.to_owned() };
    let mut pause = PAUSE;
    loop {
        let failure = match attempt(target, kind, deadline, args, &work).await {
            Attempt::Done(done) => return Ok(done),
            Attempt::Unknown => return Err(busy()),
            Attempt::Failed(failure) => failure,
        };
        let remedy = failure.remedy();
        let lengthened = pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        let is_late = Instant::now() + lengthened >= deadline;
        match remedy {
            Remedy::TooLate => return Err(busy()),
            Remedy::Again if is_late => return Err(busy()),
            Remedy::Again | Remedy::Reconnect | Remedy::Wait if !is_late => {
                sleep(lengthened).await;
                pause = pause.mul_f32(1.5);
            }
            _ => return Err(failure.answer(location, kind.action().as_str())),
        }
    }
}

async fn attempt<A, T>(
    target: Target<'_>,
    kind: Kind,
    deadline: Instant,
    args: &A,
    work: &impl for<'t> Fn(&'t Tx, &'t A) -> Work<'t, T>,
) -> Attempt<T> {
    let client = match timeout_at(deadline, target.pool.get()).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return Attempt::Failed(Failure::NoConnection(error)),
        Err(_) => {
            let timeout = PoolError::Timeout(TimeoutType::Create);
            return Attempt::Failed(Failure::NoConnection(timeout));
        }
    };
    let tx = Tx(Some(client));
    let mut stage = Stage::Begun;
    let worked = {
        let step = steps(&tx, target, kind, deadline, args, work, &mut stage);
        timeout_at(deadline + ANSWER_GRACE, step).await
    };
    match (worked, stage) {
        (Ok(Ok(done)), _) => {
            tx.release();
            Attempt::Done(done)
        }
        (Ok(Err(failure)), Stage::Committing) => {
            let refused = matches!(&failure, Failure::Database(error) if is_refusal(error));
            // The server has said that it did not commit. A shutdown may have come after that, and after a panic the
            // server may find the commit on the disk.
            if refused && failure.remedy() != Remedy::Reconnect {
                Attempt::Failed(failure)
            } else {
                Attempt::Unknown
            }
        }
        (Ok(Err(failure)), Stage::Begun) => {
            let is_usable = !matches!(failure.remedy(), Remedy::Reconnect | Remedy::FailAndClose);
            let rolled_back = match kind {
                Kind::Snapshot | Kind::Write if is_usable => {
                    let rollback = tx.batch("ROLLBACK");
                    timeout_at(deadline + ANSWER_GRACE, rollback).await.is_ok_and(|it| it.is_ok())
                }
                Kind::Read | Kind::Snapshot | Kind::Write => is_usable,
            };
            if rolled_back {
                tx.release();
            }
            Attempt::Failed(failure)
        }
        (Err(_), _) => Attempt::Unknown,
    }
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begun,
    /// COMMIT may have been sent.
    Committing,
}

async fn steps<A, T>(
    tx: &Tx,
    target: Target<'_>,
    kind: Kind,
    deadline: Instant,
    args: &A,
    work: &impl for<'t> Fn(&'t Tx, &'t A) -> Work<'t, T>,
    stage: &mut Stage,
) -> Result<T, Failure> {
    let (begin, lease) = match kind {
        Kind::Read => return work(tx, args).await,
        Kind::Snapshot => {
            target.lease()?;
            ("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", None)
        }
        Kind::Write => ("BEGIN", target.lease()?),
    };
    // Each statement may take what is left of the time of the call, and never 0, which is without a limit.
    let left = (deadline - Instant::now()).as_millis().max(1);
    let hold = lease.map(|it| format!("; SELECT {}", hold_lease(it))).unwrap_or_default();
    let begun = tx.batch(&format!("{begin}; SET LOCAL statement_timeout = {left}{hold}")).await;
    begun
        .map_err(|failure| if failure.is_without_lease() { target.no_lease() } else { failure })?;
    let done = work(tx, args).await?;
    // See [`LeaseGate`].
    if lease.is_some() && target.lease()? != lease {
        return Err(target.no_lease());
    }
    *stage = Stage::Committing;
    tx.batch("COMMIT").await?;
    Ok(done)
}

/// See `schema/nodes.sql`.
pub(super) fn hold_lease(NodeLease { node, epoch }: NodeLease) -> String {
    format!("hold_lease({}, {})", id_to_column(node), to_column(epoch))
}

fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| error.parsed_severity() == Some(Severity::Error))
}
