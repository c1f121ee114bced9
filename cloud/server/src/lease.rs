//! The lease by which a server serves on a database that others may use too: begun before the server starts, and renewed
//! for as long as it runs. `fedecks-cluster` decides, this asks the database.

use std::sync::Arc;
use std::time::Duration;

use fedecks_cluster::lease::{Call, LeaseTimes, OwnLease, Standing};
use fedecks_common::utc;
use fedecks_store::{
    Admission, LeaseOutcome, NewNode, NodeLease, NodeRecord, NodeStore, Renewal, StoreError,
};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::ServerError;

/// The lease of this server.
pub(crate) struct Lease {
    standing: watch::Receiver<Standing>,
    /// Renews it. Aborted when this is dropped.
    _renewing: JoinSet<()>,
}

/// The lease, as it is asked for.
struct Keeper {
    store: Arc<dyn NodeStore>,
    node: NewNode,
    rules: OwnLease,
}

/// The result of a call.
enum Answer {
    /// The server has its lease.
    Holds,
    /// Another server has one.
    Held(NodeRecord),
    /// The lease has ended.
    Lost,
}

/// The time since the machine's start, which continues while it is suspended.
fn boot_time() -> Duration {
    // Should there be no such clock, no lease lasts.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
}

/// What this server is called in the database.
fn machine() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "unnamed".to_owned())
}

impl Lease {
    /// Waits until this server has the lease. While another server has one it is a standby: `on_standby` learns, once,
    /// which server that is. Fails if the database does not answer at first; later it tries again until it does.
    pub(crate) async fn begin(
        store: Arc<dyn NodeStore>,
        mut on_standby: impl FnMut(&NodeRecord),
    ) -> Result<Self, ServerError> {
        let node = NewNode { id: rand::random(), name: machine() };
        let rules = OwnLease::new(LeaseTimes::default(), boot_time());
        let mut keeper = Keeper { store, node, rules };
        let (mut is_standby, mut fails) = (false, false);
        loop {
            match keeper.call().await {
                Ok(Answer::Holds) => break,
                Ok(Answer::Held(holder)) => {
                    if !is_standby {
                        let since = utc(holder.since);
                        tracing::info!(holder = holder.name, %since, "another server serves: this one is on standby");
                        on_standby(&holder);
                        is_standby = true;
                    }
                    fails = false;
                }
                Ok(Answer::Lost) => {}
                Err(error) if is_standby => {
                    if !fails {
                        tracing::warn!(%error, "cannot ask whether the other server still serves");
                        fails = true;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        let (changed, standing) = watch::channel(keeper.rules.standing(boot_time()));
        let mut renewing = JoinSet::new();
        renewing.spawn(keeper.renew(changed));
        Ok(Self { standing, _renewing: renewing })
    }

    /// Returns once the lease has ended, so that the server must not serve any more.
    pub(crate) async fn lost(&self) {
        let mut standing = self.standing.clone();
        // The keeper ends only with the lease.
        let _ = standing.wait_for(|standing| matches!(standing, Standing::Waits)).await;
    }

    /// What the server may do now.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }
}

impl Keeper {
    /// Makes the next call, when it is due.
    async fn call(&mut self) -> Result<Answer, StoreError> {
        let (due, call) = self.rules.next_call().unwrap_or((boot_time(), Call::Begin));
        tokio::time::sleep(due.saturating_sub(boot_time())).await;
        self.rules.on_calling(boot_time());
        let answer = self.answer(call).await;
        if answer.is_err() {
            self.rules.on_failed(boot_time());
        }
        answer
    }

    async fn answer(&mut self, call: Call) -> Result<Answer, StoreError> {
        if let Call::Renew { epoch } = call {
            let lease = NodeLease { node: self.node.id, epoch };
            return Ok(match self.store.renew_lease(&lease).await? {
                Renewal::Renewed { may_declare } => {
                    self.rules.on_renewed(may_declare);
                    Answer::Holds
                }
                _ => {
                    self.rules.on_lost(boot_time());
                    Answer::Lost
                }
            });
        }
        match self.store.begin_lease(&self.node, Admission::Alone).await? {
            LeaseOutcome::Begun(lease) => {
                tracing::info!(epoch = lease.epoch, "has the lease of the database");
                self.rules.on_begun(lease.epoch);
                Ok(Answer::Holds)
            }
            LeaseOutcome::Held(holder) => {
                self.rules.on_held();
                Ok(Answer::Held(holder))
            }
            _ => Ok(Answer::Lost),
        }
    }

    /// Renews the lease until it is lost.
    async fn renew(mut self, changed: watch::Sender<Standing>) {
        loop {
            if let Err(error) = self.call().await {
                tracing::debug!(%error, "cannot renew the lease");
            }
            let standing = self.rules.standing(boot_time());
            let before = changed.send_replace(standing);
            match (before, standing) {
                (_, Standing::Waits) => {
                    tracing::error!(
                        "the lease has ended: another server may serve, so this one stops"
                    );
                    return;
                }
                (Standing::Serves { .. }, Standing::CutOff) => tracing::warn!(
                    "cannot renew the lease: sessions stay and devices come back, but nothing is stored"
                ),
                (Standing::CutOff, Standing::Serves { .. }) => {
                    tracing::info!("the lease is renewed again");
                }
                _ => {}
            }
        }
    }
}
