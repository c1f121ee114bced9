//! Which tokens are revoked and which devices are blocked, in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fedecks_protocol::DeviceId;
use fedecks_store::{AccessState, Actor, DeviceStore, ForgetOutcome, StoreError};
use tokio::sync::broadcast;

use crate::auth::poll::poll_changes;

/// Which generation of each device's tokens is good, and which devices are blocked, in memory, so
/// that a connection never waits for the store. Clones share the same memory.
///
/// A token is good while its generation is at least [`Denylist::generation`] of its device. Who opens
/// a session looks once more after the session can be found by those who close it: a revocation or a
/// block between the two would otherwise miss it.
#[derive(Clone)]
pub struct Denylist(Arc<Shared>);

/// Something that changed for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessChange {
    /// Which device.
    pub device: DeviceId,
    /// What changed.
    pub what: AccessChangeKind,
}

/// What can change for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessChangeKind {
    /// Its tokens became worthless.
    Revoked,
    /// It is refused from now on.
    Blocked,
    /// It is not refused any more.
    Unblocked,
}

struct Shared {
    store: Arc<dyn DeviceStore>,
    memory: RwLock<Memory>,
    news: broadcast::Sender<AccessChange>,
}

#[derive(Default)]
struct Memory {
    devices: HashMap<DeviceId, Known>,
    /// The latest change that was read from the store.
    change: u64,
    /// The epoch of the store that it was read in.
    epoch: u64,
}

/// What is known of a device; all zero where nothing is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    pub(crate) generation: u64,
    pub(crate) blocked: bool,
    change: u64,
}

/// How many changes a subscriber may lag behind before it is told so.
const NEWS_KEPT: usize = 1024;

impl Denylist {
    /// Reads the standing of every device from `store`.
    pub async fn load(store: Arc<dyn DeviceStore>) -> Result<Self, StoreError> {
        let memory = RwLock::default();
        let denylist =
            Self(Arc::new(Shared { store, memory, news: broadcast::Sender::new(NEWS_KEPT) }));
        denylist.refresh().await?;
        Ok(denylist)
    }

    /// Makes every token that the device has worthless: in the store first, then here, then the
    /// subscribers hear of it. Returns the generation from which on tokens are good.
    pub async fn revoke(&self, device: &DeviceId, by: &Actor) -> Result<u64, StoreError> {
        let standing = self.0.store.revoke(device, by).await?;
        self.take_over(&standing);
        Ok(standing.generation)
    }

    /// Refuses a device until it is unblocked, as [`Denylist::revoke`] goes about it. Whether that
    /// changed something.
    pub async fn block(&self, device: &DeviceId, by: &Actor) -> Result<bool, StoreError> {
        let standing = self.0.store.block(device, by).await?;
        Ok(standing.inspect(|standing| self.take_over(standing)).is_some())
    }

    /// Takes a block away. Whether that changed something.
    pub async fn unblock(&self, device: &DeviceId, by: &Actor) -> Result<bool, StoreError> {
        let standing = self.0.store.unblock(device, by).await?;
        Ok(standing.inspect(|standing| self.take_over(standing)).is_some())
    }

    /// Takes a device off every list of the store and makes its tokens worthless.
    pub async fn forget(&self, device: &DeviceId, by: &Actor) -> Result<ForgetOutcome, StoreError> {
        let forgotten = self.0.store.forget(device, by).await?;
        match &forgotten {
            ForgetOutcome::Done(standing) => self.take_over(standing),
            ForgetOutcome::Unknown | ForgetOutcome::Blocked => {}
        }
        Ok(forgotten)
    }

    /// Notices, within a second, what other processes change in the same store. Goes on for ever:
    /// run it as a task of its own beside the server.
    pub async fn watch(self) {
        poll_changes("revocations and blocks by other processes", || self.refresh()).await;
    }

    /// The generation from which on the device's tokens are good; 0 if they were never revoked.
    pub fn generation(&self, device: &DeviceId) -> u64 {
        self.known(device).generation
    }

    /// Whether the device is refused.
    pub fn is_blocked(&self, device: &DeviceId) -> bool {
        self.known(device).blocked
    }

    /// What is known of the device, looked up once.
    pub(crate) fn known(&self, device: &DeviceId) -> Known {
        self.read().devices.get(device).copied().unwrap_or_default()
    }

    /// What changes from now on. A subscriber that is told it lagged has to look at each of its
    /// sessions.
    pub fn subscribe(&self) -> broadcast::Receiver<AccessChange> {
        self.0.news.subscribe()
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let (mut known, read_in) = {
            let memory = self.read();
            (memory.change, memory.epoch)
        };
        // Before it is read: what is replaced meanwhile is read anew the next time.
        let epoch = self.0.store.epoch();
        if epoch != read_in {
            known = 0;
        }
        let standings = self.0.store.access_states_after(known).await?;
        if epoch != read_in {
            self.start_over(&standings, epoch);
            return Ok(());
        }
        for standing in &standings {
            self.take_over(standing);
        }
        if let Some(latest) = standings.last() {
            let mut memory = self.write();
            memory.change = memory.change.max(latest.change);
        }
        Ok(())
    }

    /// Takes over what a store says that may be older than what is known: its blocks as they are, but
    /// a token that was worthless stays so for as long as the server runs.
    fn start_over(&self, standings: &[AccessState], epoch: u64) {
        {
            let mut memory = self.write();
            memory.epoch = epoch;
            memory.change = standings.last().map_or(0, |latest| latest.change);
            memory.devices.values_mut().for_each(|known| known.change = 0);
        }
        for standing in standings {
            self.take_over(standing);
        }
        let gone: Vec<_> = {
            let memory = self.read();
            let not_there = memory.devices.iter().filter(|(_, known)| known.change == 0);
            not_there
                .filter(|(_, known)| known.blocked)
                .map(|(device, known)| AccessState {
                    device: device.clone(),
                    generation: known.generation,
                    blocked: false,
                    change: 0,
                })
                .collect()
        };
        gone.iter().for_each(|standing| self.take_over(standing));
    }

    /// Takes a standing over if it is news, and tells the subscribers.
    fn take_over(&self, standing: &AccessState) {
        let AccessState { device, generation, blocked, change } = standing;
        let (before, now) = {
            let mut memory = self.write();
            let known = memory.devices.entry(device.clone()).or_default();
            let before = *known;
            known.generation = before.generation.max(*generation);
            // Two changes may come here in another order than they were made in.
            if *change >= before.change {
                (known.blocked, known.change) = (*blocked, *change);
            }
            (before, *known)
        };
        if now.generation > before.generation {
            self.tell(device, AccessChangeKind::Revoked);
        }
        match (before.blocked, now.blocked) {
            (false, true) => self.tell(device, AccessChangeKind::Blocked),
            (true, false) => self.tell(device, AccessChangeKind::Unblocked),
            (false, false) | (true, true) => {}
        }
    }

    fn tell(&self, device: &DeviceId, what: AccessChangeKind) {
        // Nobody listening is no error.
        let _ = self.0.news.send(AccessChange { device: device.clone(), what });
    }

    fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.0.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Memory> {
        self.0.memory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Denylist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denylist").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use fedecks_store::SqliteStore;

    fn device(id: &str) -> DeviceId {
        DeviceId::new(id).unwrap()
    }

    fn cli() -> Actor {
        Actor::cli()
    }

    async fn empty() -> Denylist {
        Denylist::load(Arc::new(SqliteStore::in_memory().unwrap())).await.unwrap()
    }

    fn denied(
        id: &str,
        what: AccessChangeKind,
    ) -> Result<AccessChange, broadcast::error::TryRecvError> {
        Ok(AccessChange { device: device(id), what })
    }

    #[tokio::test]
    async fn a_device_that_nobody_denied_has_generation_0_and_is_not_blocked() {
        let denylist = empty().await;
        assert_eq!(denylist.generation(&device("a")), 0);
        assert!(!denylist.is_blocked(&device("a")));
    }

    #[tokio::test]
    async fn each_change_counts_at_once_and_is_told_once() {
        let denylist = empty().await;
        let mut news = denylist.subscribe();
        let first = denylist.revoke(&device("a"), &cli()).await.unwrap();
        let second = denylist.revoke(&device("a"), &cli()).await.unwrap();
        assert!(0 < first && first < second, "{first} {second}");
        assert!(denylist.block(&device("a"), &cli()).await.unwrap());
        assert!(!denylist.block(&device("a"), &cli()).await.unwrap());
        assert!(denylist.is_blocked(&device("a")));
        denylist.refresh().await.unwrap();
        assert!(denylist.unblock(&device("a"), &cli()).await.unwrap());
        assert!(!denylist.unblock(&device("a"), &cli()).await.unwrap());
        assert!(!denylist.is_blocked(&device("a")));
        denylist.refresh().await.unwrap();
        assert_eq!(denylist.generation(&device("a")), second);
        assert_eq!(denylist.generation(&device("b")), 0);
        for what in [
            AccessChangeKind::Revoked,
            AccessChangeKind::Revoked,
            AccessChangeKind::Blocked,
            AccessChangeKind::Unblocked,
        ] {
            assert_eq!(news.try_recv(), denied("a", what));
        }
        assert_eq!(news.try_recv(), Err(broadcast::error::TryRecvError::Empty));
    }

    #[tokio::test]
    async fn forgetting_a_device_revokes_its_tokens() {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let denylist = Denylist::load(store.clone()).await.unwrap();
        let unknown = denylist.forget(&device("a"), &cli()).await.unwrap();
        assert_eq!(unknown, ForgetOutcome::Unknown);
        let before = denylist.revoke(&device("a"), &cli()).await.unwrap();
        let forgotten = denylist.forget(&device("a"), &cli()).await.unwrap();
        assert!(matches!(forgotten, ForgetOutcome::Done(_)), "{forgotten:?}");
        assert!(denylist.generation(&device("a")) > before);
        assert_eq!(store.device(&device("a")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn revocations_and_blocks_survive_the_server() {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let before = Denylist::load(store.clone()).await.unwrap();
        let generation = before.revoke(&device("a"), &cli()).await.unwrap();
        before.block(&device("b"), &cli()).await.unwrap();
        let after = Denylist::load(store).await.unwrap();
        assert_eq!(after.generation(&device("a")), generation);
        assert!(after.is_blocked(&device("b")) && !after.is_blocked(&device("a")));
    }

    #[tokio::test]
    async fn a_standing_that_comes_late_changes_nothing() {
        let denylist = empty().await;
        let standing =
            |blocked, change| AccessState { device: device("a"), generation: 1, blocked, change };
        denylist.take_over(&standing(true, 2));
        denylist.take_over(&standing(false, 1));
        assert!(denylist.is_blocked(&device("a")));
    }

    #[tokio::test]
    async fn what_another_process_changes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        let ours = Denylist::load(Arc::new(SqliteStore::open(&path).unwrap())).await.unwrap();
        let mut news = ours.subscribe();
        let watch = tokio::spawn(ours.clone().watch());

        let other = SqliteStore::open(&path).unwrap();
        let AccessState { generation, .. } = other.revoke(&device("a"), &cli()).await.unwrap();
        other.block(&device("b"), &cli()).await.unwrap();

        for (id, what) in [("a", AccessChangeKind::Revoked), ("b", AccessChangeKind::Blocked)] {
            let told = tokio::time::timeout(Duration::from_secs(10), news.recv()).await.unwrap();
            assert_eq!(told, Ok(AccessChange { device: device(id), what }));
        }
        assert_eq!(ours.generation(&device("a")), generation);
        assert!(ours.is_blocked(&device("b")));
        watch.abort();
    }
}
