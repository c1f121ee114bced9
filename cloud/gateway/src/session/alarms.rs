//! One timer for all sessions: it wakes each about when its next deadline is, and never later. What is due within the
//! current second is not its business.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::connection::registry::ConnectionHandle;

/// Wakes sessions at the beginning of a second, counted from the start of the cloud. A separate timer would take more memory
/// in each of them. Its task ends when this is dropped.
pub(crate) struct Alarms {
    set: Arc<Set>,
    task: AbortHandle,
}

#[derive(Default)]
struct Set {
    alarms: Mutex<BTreeSet<Alarm>>,
    /// Notified when an alarm is set before all others.
    earlier: Notify,
}

/// A session has at most one.
struct Alarm {
    second: u32,
    connection: Arc<ConnectionHandle>,
}

impl Alarms {
    /// Starts the task that wakes sessions.
    pub(crate) fn spawn(started: Instant) -> Self {
        let set = Arc::<Set>::default();
        let task = tokio::spawn(run(set.clone(), started)).abort_handle();
        Self { set, task }
    }

    /// Wakes the session of this connection at the second `to`, instead of at the second `from`, if it has not been
    /// woken yet.
    pub(super) fn set(&self, connection: &Arc<ConnectionHandle>, from: u32, to: u32) {
        let mut alarm = Alarm { second: from, connection: connection.clone() };
        let mut alarms = self.set.alarms.lock();
        alarms.remove(&alarm);
        alarm.second = to;
        let is_earlier = alarms.first().is_none_or(|first| to < first.second);
        alarms.insert(alarm);
        drop(alarms);
        if is_earlier {
            self.set.earlier.notify_one();
        }
    }

    /// The session ends, or is woken anyway.
    pub(super) fn remove(&self, connection: &Arc<ConnectionHandle>, second: u32) {
        self.set.alarms.lock().remove(&Alarm { second, connection: connection.clone() });
    }
}

impl Drop for Alarms {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(set: Arc<Set>, started: Instant) {
    loop {
        let now = Instant::now().saturating_duration_since(started).as_secs();
        while let Some(alarm) = set.take_due(now) {
            alarm.connection.mailbox.wake();
        }
        let next = set.alarms.lock().first().map(|alarm| alarm.second);
        match next {
            Some(second) => {
                let at = started + Duration::from_secs(second.into());
                tokio::select! {
                    () = sleep_until(at) => {}
                    () = set.earlier.notified() => {}
                }
            }
            None => set.earlier.notified().await,
        }
    }
}

impl Set {
    fn take_due(&self, now: u64) -> Option<Alarm> {
        let mut alarms = self.alarms.lock();
        let is_due = alarms.first().is_some_and(|first| u64::from(first.second) <= now);
        if is_due { alarms.pop_first() } else { None }
    }
}

impl Alarm {
    /// The second, and which session it is, in any order.
    fn key(&self) -> (u32, *const ConnectionHandle) {
        (self.second, Arc::as_ptr(&self.connection))
    }
}

impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Alarm {}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;
    use crate::byte_pool::BytePool;
    use crate::connection::registry::tests::handle;

    /// Waits until the session is woken, and returns after how many seconds that was.
    async fn woken(connection: &ConnectionHandle, started: Instant) -> f64 {
        let mut is_first = true;
        poll_fn(|cx| {
            let _ = connection.mailbox.poll(cx, true, &BytePool::new(0));
            if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        started.elapsed().as_secs_f64()
    }

    fn is_at(measured: f64, second: f64) -> bool {
        (second..second + 0.01).contains(&measured)
    }

    #[tokio::test(start_paused = true)]
    async fn each_session_is_woken_at_its_second() {
        let started = Instant::now();
        let alarms = Alarms::spawn(started);
        let [one, other] = [handle("a", 1), handle("b", 2)];
        alarms.set(&one, 0, 30);
        alarms.set(&other, 0, 20);
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Later, and earlier than the first one.
        alarms.set(&other, 20, 40);
        alarms.set(&one, 30, 10);
        let at = woken(&one, started).await;
        assert!(is_at(at, 10.0), "{at}");
        let at = woken(&other, started).await;
        assert!(is_at(at, 40.0), "{at}");
        // For both nothing is left.
        alarms.set(&one, 10, 50);
        alarms.set(&other, 40, 60);
        alarms.remove(&one, 50);
        let at = woken(&other, started).await;
        assert!(is_at(at, 60.0), "{at}");
        assert_eq!(Arc::strong_count(&one), 1);
        assert!(alarms.set.alarms.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn its_task_ends_with_it() {
        let alarms = Alarms::spawn(Instant::now());
        let set = Arc::downgrade(&alarms.set);
        drop(alarms);
        tokio::task::yield_now().await;
        assert_eq!(set.strong_count(), 0);
    }
}
