//! A cloud, the service, and what both need.

pub(crate) mod cloud;
pub(crate) mod fedecksd;

use std::time::Duration;

/// How long anything that is awaited may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the future gives, or a failure if it takes too long.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing came of it in time")
}
