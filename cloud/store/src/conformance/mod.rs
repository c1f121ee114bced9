//! What every store has to do, whatever it is kept on: the tests of one run [`check`], or what is there
//! for the parts that it has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it is run by tests")]

mod accounts;
mod api_tokens;
mod audit;
mod devices;
mod outbox;
mod support;

pub use accounts::accounts;
pub use api_tokens::api_tokens;
pub use audit::audit;
pub use devices::devices;
pub use outbox::outbox;

use crate::store::Store;

/// Holds empty stores, each from `open`, to the whole contract.
pub async fn check<S: Store>(open: impl AsyncFn() -> S) {
    // This is all but the outbox.
    audit(&open().await).await;
    outbox(open).await;
}
