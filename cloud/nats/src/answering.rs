//! The requests of other instances that devices of this one are asked.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::wire::Instance;

/// How many bytes the questions take at most.
const MAX_WEIGHT: usize = 64 * 1024 * 1024;

/// What a request takes besides its question, approximately.
const OVERHEAD: usize = 1024;

#[derive(Default)]
pub(crate) struct Answering(Mutex<State>);

#[derive(Default)]
struct State {
    weight: usize,
    tasks: HashMap<(Instance, u64), AbortHandle, RandomState>,
}

/// Room for a request until it is dropped.
pub(crate) struct Room {
    answering: Arc<Answering>,
    weight: usize,
    key: (Instance, u64),
}

impl Answering {
    /// `None` if it does not fit.
    pub(crate) fn room(self: &Arc<Self>, key: (Instance, u64), question: usize) -> Option<Room> {
        let weight = question.saturating_add(OVERHEAD);
        let mut state = self.0.lock();
        state.weight = state.weight.checked_add(weight).filter(|sum| *sum <= MAX_WEIGHT)?;
        Some(Room { answering: self.clone(), weight, key })
    }

    /// Starts a task that owns its room, so that it can be cancelled.
    pub(crate) fn spawn(
        &self,
        key: (Instance, u64),
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        // Locked, so that its room is not dropped before it is entered.
        let mut state = self.0.lock();
        state.tasks.insert(key, tokio::spawn(task).abort_handle());
    }

    pub(crate) fn cancel(&self, key: (Instance, u64)) {
        let task = self.0.lock().tasks.remove(&key);
        if let Some(task) = task {
            task.abort();
        }
    }

    /// Ends all.
    pub(crate) fn end(&self) {
        let tasks = std::mem::take(&mut self.0.lock().tasks);
        tasks.into_values().for_each(|task| task.abort());
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.answering.0.lock();
        state.weight -= self.weight;
        state.tasks.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn questions_are_bounded_and_cancelled() {
        let answering = Arc::new(Answering::default());
        let key = |id| (Instance(1), id);
        let room = answering.room(key(1), MAX_WEIGHT - OVERHEAD).unwrap();
        assert!(answering.room(key(2), 1).is_none());
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        answering.spawn(key(1), async move {
            let _both = (room, sender);
            std::future::pending().await
        });
        answering.cancel(key(1));
        assert!(receiver.await.is_err());
        assert!(answering.room(key(2), 1).is_some());
    }
}
