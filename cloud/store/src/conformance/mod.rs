//! Tests that every store must pass. Run [`check`], or the function of each aggregate you implement.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it is run by tests")]

mod accounts;
mod api_tokens;
mod audit;
mod devices;
mod outbox;
mod stats;
mod support;

pub use accounts::accounts;
pub use api_tokens::api_tokens;
pub use audit::audit;
pub use devices::devices;
pub use outbox::outbox;
pub use stats::stats;

use crate::store::Store;

/// Holds empty stores, each from `open`, to the whole contract.
pub async fn check<S: Store>(open: impl AsyncFn() -> S) {
    stats(&open().await);
    // It runs those of accounts, devices and API tokens.
    audit(&open().await).await;
    outbox(open).await;
}
