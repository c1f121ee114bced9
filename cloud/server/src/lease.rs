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
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::config::Cluster;
use crate::error::ServerError;

/// The lease of this server.
pub(crate) struct Lease {
    /// Which no other start of a server on this database has or had.
    epoch: u64,
    state: watch::Receiver<LeaseState>,
    /// Notified when another server has renewed its lease.
    other_renewed: Arc<Notify>,
    /// Renews it. Aborted when this is dropped.
    _renewing: JoinSet<()>,
}

/// What a lease permits at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseState {
    pub(crate) standing: Standing,
    /// Whether this server, of several, does what one does for all of them.
    pub(crate) leads: bool,
    /// Whether an operator has asked it to end.
    pub(crate) drains: bool,
    /// How often an operator has asked the servers to spread their sessions evenly.
    pub(crate) rebalances: u64,
    /// How often the lease was renewed.
    pub(crate) renewals: u64,
}

/// The lease, as it is asked for.
struct Keeper {
    store: Arc<dyn NodeStore>,
    node: NewNode,
    admission: Admission,
    rules: OwnLease,
    drains: bool,
    rebalances: u64,
    renewals: u64,
    other_renewed: Arc<Notify>,
}

/// The result of a call.
enum Answer {
    /// The server has a lease with this epoch.
    Begun(u64),
    /// It still has it.
    Renewed,
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

/// For how long the first calls may find the database too busy to answer.
const FIRST_CALLS: Duration = Duration::from_secs(30);

/// The longest sleep while a change of the standing is due: a sleep does not count the time in which the machine is
/// suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

impl Lease {
    /// Waits until this server has the lease. While another server has one it is a standby: `on_standby` learns, once,
    /// which server that is. A standby tries again whatever the database answers; before that, this fails if the
    /// database answers with an error, or is busy for [`FIRST_CALLS`].
    pub(crate) async fn begin(
        store: Arc<dyn NodeStore>,
        id: u64,
        cluster: Option<&Cluster>,
        on_standby: impl FnMut(&NodeRecord),
    ) -> Result<Self, ServerError> {
        let name = cluster.and_then(|cluster| cluster.name.clone()).unwrap_or_else(machine);
        let other_renewed = Arc::new(Notify::new());
        let mut keeper = Keeper {
            store,
            node: NewNode { id, name },
            admission: if cluster.is_some() { Admission::Several } else { Admission::Alone },
            rules: OwnLease::new(LeaseTimes::default(), boot_time()),
            drains: false,
            rebalances: 0,
            renewals: 0,
            other_renewed: other_renewed.clone(),
        };
        let epoch = keeper.begin(on_standby).await?;
        let (changed, state) = watch::channel(keeper.state());
        let mut renewing = JoinSet::new();
        renewing.spawn(keeper.renew(changed));
        Ok(Self { epoch, state, other_renewed, _renewing: renewing })
    }

    /// What tells this start of the server from all others on this database.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns once the lease has ended, so that the server must not serve any more.
    pub(crate) async fn lost(&self) {
        let mut state = self.state.clone();
        // The keeper ends only with the lease.
        let _ = state.wait_for(|state| matches!(state.standing, Standing::Waits)).await;
    }

    /// Returns once an operator has asked the server to end.
    pub(crate) async fn drained(&self) {
        let mut state = self.state.clone();
        if state.wait_for(|state| state.drains).await.is_err() {
            std::future::pending().await
        }
    }

    /// What the server may do now.
    pub(crate) fn state(&self) -> watch::Receiver<LeaseState> {
        self.state.clone()
    }

    /// To be notified when another server has renewed its lease.
    pub(crate) fn other_renewed(&self) -> Arc<Notify> {
        self.other_renewed.clone()
    }
}

impl Keeper {
    async fn begin(&mut self, mut on_standby: impl FnMut(&NodeRecord)) -> Result<u64, StoreError> {
        let until = boot_time().saturating_add(FIRST_CALLS);
        let (mut is_standby, mut fails) = (false, false);
        loop {
            match self.call().await {
                Ok(Answer::Begun(epoch)) => return Ok(epoch),
                Ok(Answer::Held(holder)) => {
                    if !is_standby {
                        let since = utc(holder.since);
                        tracing::info!(holder = holder.name, %since, "another server serves: this one is on standby");
                        on_standby(&holder);
                        is_standby = true;
                    }
                    fails = false;
                }
                Ok(Answer::Renewed | Answer::Lost) => {}
                Err(error) => {
                    let is_busy = matches!(error, StoreError::Busy { .. });
                    if !(is_standby || is_busy && boot_time() < until) {
                        return Err(error);
                    }
                    if !std::mem::replace(&mut fails, true) {
                        tracing::warn!(%error, "cannot ask for the lease, trying again");
                    }
                }
            }
        }
    }

    /// Makes the next call, when it is due.
    async fn call(&mut self) -> Result<Answer, StoreError> {
        self.call_and(|_| {}).await
    }

    /// Makes the next call, when it is due. `on_change` learns what the server may do whenever that changes meanwhile.
    async fn call_and(
        &mut self,
        mut on_change: impl FnMut(LeaseState),
    ) -> Result<Answer, StoreError> {
        let (due, call) = self.rules.next_call().unwrap_or((boot_time(), Call::Begin));
        loop {
            let left = due.saturating_sub(boot_time());
            if left.is_zero() {
                break;
            }
            tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
            on_change(self.state());
        }
        self.rules.on_calling(boot_time());
        let answer = {
            let (store, node) = (self.store.clone(), self.node.clone());
            let asked = ask(&*store, &node, self.admission, call);
            tokio::pin!(asked);
            loop {
                let now = boot_time();
                let changes = self.rules.changes_at(now);
                let left = changes.map_or(Duration::MAX, |at| at.saturating_sub(now));
                tokio::select! {
                    answer = &mut asked => break answer,
                    () = self.other_renewed.notified() => self.rules.on_other_renewed(boot_time()),
                    () = tokio::time::sleep(left.min(LONGEST_SLEEP)) => {}
                }
                on_change(self.state());
            }
        };
        self.learn(answer)
    }

    /// Applies the rules to the answer to a call.
    fn learn(&mut self, answer: Result<Asked, StoreError>) -> Result<Answer, StoreError> {
        let answer = answer.inspect_err(|_| self.rules.on_failed(boot_time()))?;
        Ok(match answer {
            Asked::Begun(NodeLease { epoch, .. }, leads) => {
                match self.admission {
                    Admission::Several => tracing::info!(epoch, leads, "serves with others"),
                    _ => tracing::info!(epoch, "has the lease of the database"),
                }
                self.rules.on_begun(epoch, leads);
                Answer::Begun(epoch)
            }
            Asked::Renewed { may_declare, leads, drains, rebalances } => {
                self.rules.on_renewed(may_declare, leads);
                self.drains |= drains;
                self.rebalances = rebalances;
                self.renewals += 1;
                Answer::Renewed
            }
            Asked::Held(holder) => {
                self.rules.on_held();
                Answer::Held(holder)
            }
            Asked::Lost => {
                self.rules.on_lost(boot_time());
                Answer::Lost
            }
        })
    }

    fn state(&self) -> LeaseState {
        let now = boot_time();
        LeaseState {
            standing: self.rules.standing(now),
            leads: self.admission == Admission::Several && self.rules.leads(now),
            drains: self.drains,
            rebalances: self.rebalances,
            renewals: self.renewals,
        }
    }

    /// Declares those dead that have not renewed for long enough. The one that leads may be among them, so each server
    /// does it.
    async fn declare_dead(&self) {
        let Some((_, Call::Renew { epoch })) = self.rules.next_call() else { return };
        if self.admission != Admission::Several || !self.rules.may_declare(boot_time()) {
            return;
        }
        let lease = NodeLease { node: self.node.id, epoch };
        match self.store.declare_dead(&lease).await {
            Ok(dead) => {
                for NodeRecord { name, epoch, .. } in dead {
                    tracing::warn!(name, epoch, "declared another server dead");
                }
            }
            Err(error) => tracing::debug!(%error, "cannot look for servers that are dead"),
        }
    }

    /// Renews the lease until it is lost.
    async fn renew(mut self, changed: watch::Sender<LeaseState>) {
        let mut fails = false;
        loop {
            match self.call_and(|state| publish(&changed, state)).await {
                Ok(_) => fails = false,
                Err(error) if !fails => {
                    tracing::warn!(%error, "cannot renew the lease, trying again");
                    fails = true;
                }
                Err(error) => tracing::debug!(%error, "cannot renew the lease"),
            }
            let state = self.state();
            publish(&changed, state);
            if matches!(state.standing, Standing::Waits) {
                return;
            }
            self.declare_dead().await;
        }
    }
}

/// What the database says.
enum Asked {
    /// Whether it leads, too.
    Begun(NodeLease, bool),
    Renewed {
        may_declare: bool,
        leads: bool,
        drains: bool,
        rebalances: u64,
    },
    Held(NodeRecord),
    Lost,
}

async fn ask(
    store: &dyn NodeStore,
    node: &NewNode,
    admission: Admission,
    call: Call,
) -> Result<Asked, StoreError> {
    if let Call::Renew { epoch } = call {
        let lease = NodeLease { node: node.id, epoch };
        return Ok(match store.renew_lease(&lease).await? {
            Renewal::Renewed { may_declare, leads, drains, rebalances } => {
                Asked::Renewed { may_declare, leads, drains, rebalances }
            }
            _ => Asked::Lost,
        });
    }
    Ok(match store.begin_lease(node, admission).await? {
        LeaseOutcome::Begun { lease, leads } => Asked::Begun(lease, leads),
        LeaseOutcome::Held(holder) => Asked::Held(holder),
        _ => Asked::Lost,
    })
}

/// Says what the server may do from now on.
fn publish(changed: &watch::Sender<LeaseState>, state: LeaseState) {
    if *changed.borrow() == state {
        return;
    }
    let before = changed.send_replace(state);
    if state.leads && !before.leads {
        tracing::info!("leads the servers of the database");
    }
    match (before.standing, state.standing) {
        (_, Standing::Waits) => {
            tracing::error!("the lease has ended: another server may serve, so this one stops");
        }
        (Standing::Serves { .. }, Standing::CutOff) => tracing::warn!(
            "has no lease at the moment: sessions stay and devices come back, but nothing is stored"
        ),
        (Standing::CutOff, Standing::Isolated) => tracing::warn!(
            "another server reaches the database, and this one does not: refuses new sessions"
        ),
        (Standing::Isolated, Standing::Drains) => {
            tracing::warn!("still cannot reach the database: closes its sessions");
        }
        (_, Standing::Serves { .. }) if !matches!(before.standing, Standing::Serves { .. }) => {
            tracing::info!("the lease is renewed again");
        }
        _ => {}
    }
}
