//! Tests that every store must pass. Run [`check`], or the function of each trait that you implement.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "only tests call it")]

mod accounts;
mod api_tokens;
mod audit;
mod claims;
mod consumers;
mod decisions;
mod device_queue;
mod devices;
#[cfg(test)]
pub(crate) mod down_model;
mod down_streams;
mod down_support;
mod known_logins;
mod messages;
mod queue;
mod registration_support;
mod registrations;
mod stats;
pub(crate) mod support;

pub use accounts::accounts;
pub use api_tokens::api_tokens;
pub use audit::audit;
pub use claims::claims;
pub use consumers::consumers;
pub use device_queue::device_queue;
pub use devices::devices;
pub use known_logins::known_logins;
pub use messages::messages;
pub use queue::queues;
pub use registrations::registrations;
pub use stats::stats;

use crate::store::Store;

/// Tests the whole contract on empty stores, which `open` creates.
pub async fn check<S: Store>(open: impl AsyncFn() -> S) {
    stats(&open().await);
    // This runs the tests of accounts, devices and API tokens.
    audit(&open().await).await;
    known_logins(&open().await).await;
    claims(&open).await;
    registrations(&open).await;
    queues(&open).await;
    messages(&open).await;
    consumers(&open).await;
    device_queue(open).await;
}
