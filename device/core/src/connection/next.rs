//! Where a state goes next. A state says it; the connection goes there.

use fedecks_protocol::Welcome;

use super::retry_policy::Retry;

#[derive(Debug)]
pub(super) enum Next {
    /// To the wait for the next attempt, or for something to dial with.
    Waiting(Retry),
    /// To the next attempt now.
    Dialing,
    /// To the session that this Welcome opens.
    Session(Welcome),
}
