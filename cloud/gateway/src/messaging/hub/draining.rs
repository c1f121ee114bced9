//! Disconnecting the devices of this node, so that they connect again elsewhere or later.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Hub;
use crate::connection::mailbox::CloseCommand;

/// How long a batch of connections may take to close before the next one is closed.
const BATCH_TIMEOUT: Duration = Duration::from_secs(6);

impl Hub {
    /// Closes every connection to this node because the server is shutting down, and refuses new ones with
    /// 503. Closes `batch` connections at a time and asks the devices to reconnect after delays that are
    /// spread evenly over `spread`, at least one second, so that they do not reconnect all at once.
    /// Returns how many connections were closed.
    pub async fn drain(&self, batch: usize, spread: Duration) -> usize {
        self.0.draining.store(true, Ordering::SeqCst);
        self.disconnect_all(batch, spread).await
    }

    /// Refuses new connections to this node with 503, or accepts them again: for a node whose devices are served
    /// better by another one.
    pub fn refuse_new(&self, refuse: bool) {
        self.0.refuses_new.store(refuse, Ordering::SeqCst);
    }

    /// Closes every connection to this node as [`Hub::drain`] does, and refuses no new ones.
    pub async fn disconnect_all(&self, batch: usize, spread: Duration) -> usize {
        let connections = self.0.registry.all();
        let count = u32::try_from(connections.len()).unwrap_or(u32::MAX).max(1);
        for (index, chunk) in connections.chunks(batch.max(1)).enumerate() {
            for (place, connection) in chunk.iter().enumerate() {
                let place = u32::try_from(index * batch.max(1) + place).unwrap_or(u32::MAX);
                let close = CloseCommand::restart(spread / count * place);
                connection.mailbox.end_session(close);
            }
            // A connection that does not close in time is closed by its own timeout.
            let _ = tokio::time::timeout(BATCH_TIMEOUT, self.0.registry.until_removed(chunk)).await;
        }
        connections.len()
    }

    /// Closes `count` connections to this node, or all if it has fewer, evenly over `spread`. Their devices connect
    /// again after a second, to this node or another one. Ends early when this node begins to refuse new connections.
    /// Returns how many connections were closed.
    pub async fn disconnect_some(&self, count: usize, spread: Duration) -> usize {
        let mut connections = self.0.registry.all();
        connections.truncate(count);
        let pause = spread / u32::try_from(connections.len()).unwrap_or(u32::MAX).max(1);
        let (start, mut closed) = (Instant::now(), 0);
        for (place, connection) in (0..).zip(&connections) {
            sleep_until(start + pause * place).await;
            if self.is_draining() {
                break;
            }
            let close = CloseCommand::restart(Duration::ZERO);
            closed += usize::from(connection.mailbox.end_session(close));
        }
        closed
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::SeqCst) || self.0.refuses_new.load(Ordering::SeqCst)
    }
}
