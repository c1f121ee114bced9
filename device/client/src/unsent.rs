//! The memory of all messages that wait to be sent, which has a limit.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts in units of this many bytes, as a semaphore counts in `u32`.
const UNIT: usize = 1024;

/// What the messages that wait to be sent may still take. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Unsent {
    free: Arc<Semaphore>,
    units: u32,
}

/// The part of one message, until it is dropped; none after the end of the client.
pub(crate) type Share = Option<OwnedSemaphorePermit>;

impl Unsent {
    pub(crate) fn new(bytes: usize) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        let permits = usize::try_from(units).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(permits)), units }
    }

    /// Waits until a message of this weight fits. One that is heavier than everything has to be alone.
    pub(crate) async fn take(&self, weight: usize) -> Share {
        let units = u32::try_from(weight.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        Arc::clone(&self.free).acquire_many_owned(units).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::poll_immediate;

    use super::*;

    #[tokio::test]
    async fn what_waits_to_be_sent_is_bounded_in_sum() {
        let unsent = Unsent::new(10 * UNIT);
        let one = unsent.take(4 * UNIT + 1).await;
        let other = unsent.take(5 * UNIT).await;
        assert!(poll_immediate(unsent.take(1)).await.is_none());
        drop(one);
        assert!(poll_immediate(unsent.take(1)).await.is_some());
        assert!(poll_immediate(unsent.take(100 * UNIT)).await.is_none());
        drop(other);
        assert!(poll_immediate(unsent.take(100 * UNIT)).await.is_some());
    }
}
