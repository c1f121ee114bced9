//! The last refusal in the health of the device.

use fedecks_protocol::{Refusal, Term};

/// The last refusal, if there was one that this version knows.
pub(crate) fn last(health: &Term) -> Option<Refusal> {
    let code = health.get("last_refusal")?.get("reason")?.as_str()?;
    Refusal::ALL.into_iter().find(|refusal| refusal.reason() == code)
}
