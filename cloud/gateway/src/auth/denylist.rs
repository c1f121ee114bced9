//! Revoked tokens and blocked devices, in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fedecks_protocol::DeviceId;
use fedecks_store::{AccessState, Actor, DeviceStore, ForgetOutcome, StoreError};
use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::auth::access_changes::{AccessChange, AccessChangeKind, AccessChanges};
use crate::auth::poll::poll_changes;

/// The current generation of each device's tokens, and the blocked devices, in memory, so that no
/// connection waits for the store. Clones share their state.
///
/// A token is valid if its generation is at least the [`Denylist::generation`] of its device. A session
/// has to check again after it was registered; otherwise a revocation or a block between the check and
/// the registration would miss it.
///
/// ```no_run
/// use fedecks_cloud::store::Actor;
/// use fedecks_cloud::{Denylist, DeviceId};
///
/// # async fn example(denylist: &Denylist) -> Result<(), Box<dyn std::error::Error>> {
/// let device = DeviceId::new("kitchen-1")?;
/// denylist.revoke(&device, &Actor::cli()).await?; // It has to log in again.
/// denylist.block(&device, &Actor::cli()).await?; // It cannot.
/// assert!(denylist.is_blocked(&device));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Denylist(Arc<Shared>);

struct Shared {
    store: Arc<dyn DeviceStore>,
    cache: RwLock<Cache>,
    changes: broadcast::Sender<AccessChange>,
    /// When the store was last read.
    refreshed: Mutex<Instant>,
}

#[derive(Default)]
struct Cache {
    devices: HashMap<DeviceId, Access, RandomState>,
    /// Number of the latest change that was read from the store.
    change: u64,
    /// The epoch of the store at that time.
    epoch: u64,
}

/// The cached access of a device; all zero for an unknown device.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Access {
    pub(crate) generation: u64,
    pub(crate) blocked: bool,
    change: u64,
}

/// How many changes a subscriber may lag behind.
const CHANGE_BACKLOG: usize = 1024;

impl Denylist {
    /// Loads the access of every device from `store`. Notices from then on, within a second, what other processes
    /// change in it, such as `fedecks-cloud device block`, until the last clone is dropped. Must be called within a
    /// tokio runtime.
    pub async fn load(store: Arc<dyn DeviceStore>) -> Result<Self, StoreError> {
        let (cache, changes) = (RwLock::default(), broadcast::Sender::new(CHANGE_BACKLOG));
        let refreshed = Mutex::new(Instant::now());
        let denylist = Self(Arc::new(Shared { store, cache, changes, refreshed }));
        denylist.refresh().await?;
        let shared = Arc::downgrade(&denylist.0);
        poll_changes("revocations and blocks by other processes", shared, |shared| async move {
            Self(shared).refresh().await
        });
        Ok(denylist)
    }

    /// Revokes all tokens of a device, first in the store, then here, and then notifies the subscribers.
    /// Returns the lowest generation of tokens that are valid from now on.
    pub async fn revoke(&self, device: &DeviceId, by: &Actor) -> Result<u64, StoreError> {
        let state = self.0.store.revoke(device, by).await?;
        self.apply(&state);
        Ok(state.generation)
    }

    /// Blocks a device until it is unblocked, in the same order as [`Denylist::revoke`]; returns false if
    /// it was blocked already.
    pub async fn block(&self, device: &DeviceId, by: &Actor) -> Result<bool, StoreError> {
        let state = self.0.store.block(device, by).await?;
        Ok(state.inspect(|state| self.apply(state)).is_some())
    }

    /// Unblocks a device; returns false if it was not blocked.
    pub async fn unblock(&self, device: &DeviceId, by: &Actor) -> Result<bool, StoreError> {
        let state = self.0.store.unblock(device, by).await?;
        Ok(state.inspect(|state| self.apply(state)).is_some())
    }

    /// Removes a device from all lists of the store and revokes its tokens.
    pub async fn forget(&self, device: &DeviceId, by: &Actor) -> Result<ForgetOutcome, StoreError> {
        let forgotten = self.0.store.forget(device, by).await?;
        if let ForgetOutcome::Done(state) = &forgotten {
            self.apply(state);
        }
        Ok(forgotten)
    }

    /// The lowest generation of the device's tokens that are valid; 0 if none were ever revoked.
    pub fn generation(&self, device: &DeviceId) -> u64 {
        self.access(device).generation
    }

    /// Whether the device is blocked.
    pub fn is_blocked(&self, device: &DeviceId) -> bool {
        self.access(device).blocked
    }

    /// Both in one look-up.
    pub(crate) fn access(&self, device: &DeviceId) -> Access {
        self.0.cache.read().devices.get(device).copied().unwrap_or_default()
    }

    /// Subscribes to all changes from now on. At most 1,024 wait for the subscriber; if there are more, the oldest are
    /// missed.
    pub fn subscribe(&self) -> AccessChanges {
        AccessChanges::new(self.0.changes.subscribe())
    }

    /// Learns now what other processes have changed in the store, or what was changed without the denylist, such as by
    /// [`RegistrationStore::revoke_matching`](fedecks_store::RegistrationStore::revoke_matching).
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let (known, known_epoch) = {
            let cache = self.0.cache.read();
            (cache.change, cache.epoch)
        };
        // Before reading: a store that is replaced in the meantime is read again the next time.
        let (epoch, began) = (self.0.store.epoch(), Instant::now());
        if epoch != known_epoch {
            self.resync(&self.0.store.access_states_after(0).await?, epoch);
            self.refreshed(began);
            return Ok(());
        }
        let states = self.0.store.access_states_after(known).await?;
        states.iter().for_each(|state| self.apply(state));
        if let Some(latest) = states.last() {
            let mut cache = self.0.cache.write();
            cache.change = cache.change.max(latest.change);
        }
        self.refreshed(began);
        Ok(())
    }

    /// How long ago the store was last read: what other processes have changed since is not known here.
    pub fn age(&self) -> Duration {
        self.0.refreshed.lock().elapsed()
    }

    fn refreshed(&self, began: Instant) {
        let mut refreshed = self.0.refreshed.lock();
        *refreshed = (*refreshed).max(began);
    }

    /// Replaces what is cached with the states of a store that may be older, such as a restored backup.
    /// Its blocks replace ours, but a token that was revoked stays revoked for as long as the server runs.
    fn resync(&self, states: &[AccessState], epoch: u64) {
        {
            let mut cache = self.0.cache.write();
            cache.epoch = epoch;
            cache.change = states.last().map_or(0, |latest| latest.change);
            cache.devices.values_mut().for_each(|access| access.change = 0);
        }
        states.iter().for_each(|state| self.apply(state));
        let unblocked: Vec<_> = {
            let cache = self.0.cache.read();
            let blocked_before =
                cache.devices.iter().filter(|(_, access)| access.change == 0 && access.blocked);
            blocked_before
                .map(|(device, access)| AccessState {
                    device: device.clone(),
                    generation: access.generation,
                    blocked: false,
                    change: 0,
                })
                .collect()
        };
        unblocked.iter().for_each(|state| self.apply(state));
    }

    /// Learns that the generation of a device's tokens was raised in the store, before the store is polled.
    pub(crate) fn raised(&self, device: &DeviceId, generation: u64) {
        if generation <= self.generation(device) {
            return;
        }
        let is_raised = {
            let mut cache = self.0.cache.write();
            let access = cache.devices.entry(device.clone()).or_default();
            let before = access.generation;
            access.generation = before.max(generation);
            access.generation > before
        };
        if is_raised {
            self.notify(device, AccessChangeKind::Revoked);
        }
    }

    /// Applies a state if it is newer, and notifies the subscribers.
    fn apply(&self, state: &AccessState) {
        let AccessState { device, generation, blocked, change } = state;
        let (before, now) = {
            let mut cache = self.0.cache.write();
            let access = cache.devices.entry(device.clone()).or_default();
            let before = *access;
            access.generation = before.generation.max(*generation);
            // Changes may arrive in another order than they were made in.
            if *change >= before.change {
                (access.blocked, access.change) = (*blocked, *change);
            }
            (before, *access)
        };
        if now.generation > before.generation {
            self.notify(device, AccessChangeKind::Revoked);
        }
        match (before.blocked, now.blocked) {
            (false, true) => self.notify(device, AccessChangeKind::Blocked),
            (true, false) => self.notify(device, AccessChangeKind::Unblocked),
            (false, false) | (true, true) => {}
        }
    }

    fn notify(&self, device: &DeviceId, kind: AccessChangeKind) {
        // Fails only if there are no subscribers.
        let _ = self.0.changes.send(AccessChange { device: device.clone(), kind });
    }
}

impl fmt::Debug for Denylist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denylist").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use AccessChangeKind::{Blocked, Revoked, Unblocked};
    use fedecks_store::{SqliteStore, StoreOptions};
    use fedecks_testing::wait::{until, within};
    use futures_util::FutureExt;

    use super::*;
    use crate::auth::AccessEvent;

    fn a() -> DeviceId {
        DeviceId::new("a").unwrap()
    }

    fn b() -> DeviceId {
        DeviceId::new("b").unwrap()
    }

    async fn empty() -> Denylist {
        Denylist::load(Arc::new(SqliteStore::in_memory().unwrap())).await.unwrap()
    }

    #[tokio::test]
    async fn each_change_takes_effect_at_once_and_is_notified_once() {
        let denylist = empty().await;
        assert_eq!(denylist.generation(&a()), 0);
        assert!(!denylist.is_blocked(&a()));
        let mut changes = denylist.subscribe();
        let first = denylist.revoke(&a(), &Actor::cli()).await.unwrap();
        let second = denylist.revoke(&a(), &Actor::cli()).await.unwrap();
        assert!(0 < first && first < second, "{first} {second}");
        assert!(denylist.block(&a(), &Actor::cli()).await.unwrap());
        assert!(!denylist.block(&a(), &Actor::cli()).await.unwrap());
        assert!(denylist.is_blocked(&a()));
        denylist.refresh().await.unwrap();
        assert!(denylist.unblock(&a(), &Actor::cli()).await.unwrap());
        assert!(!denylist.unblock(&a(), &Actor::cli()).await.unwrap());
        assert!(!denylist.is_blocked(&a()));
        denylist.refresh().await.unwrap();
        assert_eq!(denylist.generation(&a()), second);
        assert_eq!(denylist.generation(&b()), 0);
        for kind in [Revoked, Revoked, Blocked, Unblocked] {
            let expected = AccessEvent::Changed(AccessChange { device: a(), kind });
            assert_eq!(changes.next().now_or_never(), Some(Some(expected)));
        }
        assert_eq!(changes.next().now_or_never(), None, "nothing waits");
    }

    #[tokio::test]
    async fn forgetting_a_device_revokes_its_tokens() {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let denylist = Denylist::load(store.clone()).await.unwrap();
        let unknown = denylist.forget(&a(), &Actor::cli()).await.unwrap();
        assert_eq!(unknown, ForgetOutcome::Unknown);
        let before = denylist.revoke(&a(), &Actor::cli()).await.unwrap();
        let forgotten = denylist.forget(&a(), &Actor::cli()).await.unwrap();
        assert!(matches!(forgotten, ForgetOutcome::Done(_)), "{forgotten:?}");
        assert!(denylist.generation(&a()) > before);
        assert_eq!(store.device(&a()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn revocations_and_blocks_survive_the_server() {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let before = Denylist::load(store.clone()).await.unwrap();
        let generation = before.revoke(&a(), &Actor::cli()).await.unwrap();
        before.block(&b(), &Actor::cli()).await.unwrap();
        let after = Denylist::load(store).await.unwrap();
        assert_eq!(after.generation(&a()), generation);
        assert!(after.is_blocked(&b()) && !after.is_blocked(&a()));
    }

    #[tokio::test]
    async fn a_state_that_arrives_late_changes_nothing() {
        let denylist = empty().await;
        let state = |blocked, change| AccessState { device: a(), generation: 1, blocked, change };
        denylist.apply(&state(true, 2));
        denylist.apply(&state(false, 1));
        assert!(denylist.is_blocked(&a()));
    }

    #[tokio::test]
    async fn changes_by_another_process_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        let ours = Denylist::load(Arc::new(SqliteStore::open(&path).unwrap())).await.unwrap();
        let mut changes = ours.subscribe();

        let other = SqliteStore::open_beside(&path, StoreOptions::default()).unwrap();
        let AccessState { generation, .. } = other.revoke(&a(), &Actor::cli()).await.unwrap();
        other.block(&b(), &Actor::cli()).await.unwrap();

        for (device, kind) in [(a(), Revoked), (b(), Blocked)] {
            let received = within(changes.next()).await;
            assert_eq!(received, Some(AccessEvent::Changed(AccessChange { device, kind })));
        }
        assert_eq!(ours.generation(&a()), generation);
        assert!(ours.is_blocked(&b()));
        let shared = Arc::downgrade(&ours.0);
        drop(ours);
        until(async || (shared.strong_count() == 0).then_some(())).await;
    }
}
