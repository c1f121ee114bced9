use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fedecks_protocol::DeviceId;
use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;

use crate::store::{Store, StoreError};

/// Which generation of each device's tokens is good, in memory, so that a connection never waits for
/// the store. Clones share the same memory.
///
/// A token is good while its generation is at least [`Revocations::generation`] of its device. Who
/// opens a session reads the generation once more after the session can be found by those who close
/// it: a revocation between the two would otherwise miss it.
#[derive(Clone)]
pub struct Revocations(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    generations: RwLock<HashMap<DeviceId, u64>>,
    /// The latest change that was read from the store.
    change: AtomicU64,
    revoked: broadcast::Sender<DeviceId>,
}

/// How often [`Revocations::watch`] looks for revocations that another process wrote.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// How many revocations a subscriber may lag behind before it is told so.
const NEWS_KEPT: usize = 1024;

impl Revocations {
    /// Reads every revocation of `store`.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let revocations = Self(Arc::new(Shared {
            store,
            generations: RwLock::default(),
            change: AtomicU64::new(0),
            revoked: broadcast::Sender::new(NEWS_KEPT),
        }));
        revocations.refresh().await?;
        Ok(revocations)
    }

    /// Makes every token that the device has worthless: in the store first, then here, then the
    /// subscribers hear of it. Returns the generation from which on tokens are good.
    pub async fn revoke(&self, device: &DeviceId) -> Result<u64, StoreError> {
        let generation = self.0.store.revoke(device).await?;
        self.raise(device, generation);
        Ok(generation)
    }

    /// Notices, within a second, what other processes revoke in the same store. Goes on for ever:
    /// run it as a task of its own beside the server.
    pub async fn watch(self) {
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            match self.refresh().await {
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("the store's revocations can be read again");
                }
                Ok(()) => {}
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "revocations of other processes go unnoticed for now");
                }
                Err(_) => {}
            }
        }
    }

    /// The generation from which on the device's tokens are good; 0 if they were never revoked.
    pub fn generation(&self, device: &DeviceId) -> u64 {
        let generations = self.0.generations.read().unwrap_or_else(PoisonError::into_inner);
        generations.get(device).copied().unwrap_or(0)
    }

    /// Every device whose tokens are revoked from now on. A subscriber that is told it lagged has
    /// to compare the generation of each of its sessions with [`Revocations::generation`].
    pub fn subscribe(&self) -> broadcast::Receiver<DeviceId> {
        self.0.revoked.subscribe()
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let known = self.0.change.load(Ordering::Acquire);
        for revocation in self.0.store.revocations_after(known).await? {
            self.raise(&revocation.device, revocation.generation);
            self.0.change.fetch_max(revocation.change, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Takes a generation over if it is news, and tells the subscribers.
    fn raise(&self, device: &DeviceId, generation: u64) {
        {
            let mut generations =
                self.0.generations.write().unwrap_or_else(PoisonError::into_inner);
            let known = generations.entry(device.clone()).or_insert(0);
            if *known >= generation {
                return;
            }
            *known = generation;
        }
        // Nobody listening is no error.
        let _ = self.0.revoked.send(device.clone());
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SqliteStore;

    fn device(id: &str) -> DeviceId {
        DeviceId::new(id).unwrap()
    }

    async fn empty() -> Revocations {
        Revocations::load(Arc::new(SqliteStore::in_memory().unwrap())).await.unwrap()
    }

    #[tokio::test]
    async fn a_device_that_was_never_revoked_has_generation_0() {
        assert_eq!(empty().await.generation(&device("a")), 0);
    }

    #[tokio::test]
    async fn each_revocation_raises_the_generation_and_is_told_once() {
        let revocations = empty().await;
        let mut news = revocations.subscribe();
        assert_eq!(revocations.revoke(&device("a")).await.unwrap(), 1);
        assert_eq!(revocations.revoke(&device("a")).await.unwrap(), 2);
        revocations.refresh().await.unwrap();
        assert_eq!(revocations.generation(&device("a")), 2);
        assert_eq!(revocations.generation(&device("b")), 0);
        assert_eq!(news.try_recv(), Ok(device("a")));
        assert_eq!(news.try_recv(), Ok(device("a")));
        assert_eq!(news.try_recv(), Err(broadcast::error::TryRecvError::Empty));
    }

    #[tokio::test]
    async fn revocations_survive_the_server() {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().unwrap());
        Revocations::load(store.clone()).await.unwrap().revoke(&device("a")).await.unwrap();
        let after = Revocations::load(store).await.unwrap();
        assert_eq!(after.generation(&device("a")), 1);
    }

    #[tokio::test]
    async fn what_another_process_revokes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        let ours = Revocations::load(Arc::new(SqliteStore::open(&path).unwrap())).await.unwrap();
        let mut news = ours.subscribe();
        let watch = tokio::spawn(ours.clone().watch());

        let other = SqliteStore::open(&path).unwrap();
        other.revoke(&device("a")).await.unwrap();

        let told = tokio::time::timeout(Duration::from_secs(10), news.recv()).await.unwrap();
        assert_eq!(told, Ok(device("a")));
        assert_eq!(ours.generation(&device("a")), 1);
        watch.abort();
    }
}
