//! What all parts of the contract's tests need.

use std::time::Duration;

use fedecks_protocol::DeviceId;

use crate::audit::Actor;

pub(super) fn device(id: &str) -> DeviceId {
    DeviceId::new(id).unwrap()
}

pub(super) fn cli() -> Actor {
    Actor::cli()
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("the notes get written")
}
