//! Helpers of the contract's tests.

use std::time::Duration;

use fedecks_protocol::DeviceId;

use crate::audit::Actor;
use crate::time::unix_now;

pub(crate) fn device(id: &str) -> DeviceId {
    DeviceId::new(id).unwrap()
}

pub(crate) fn cli() -> Actor {
    Actor::cli()
}

/// Waits until `check` returns a value: notes are written later.
pub(crate) async fn until<T>(mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(value) = check().await {
                return value;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the notes get written")
}

/// A time of this test, in seconds and not in milliseconds.
pub(crate) fn is_recent(time: u64) -> bool {
    (unix_now() - 600..=unix_now()).contains(&time)
}
