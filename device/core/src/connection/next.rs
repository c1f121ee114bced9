//! Where a state goes next. A state says it; the connection goes there.

use fedecks_protocol::Welcome;

use super::retry_policy::Retry;

#[derive(Debug)]
pub(super) enum Next {
    /// To where there is nothing to dial with.
    Unregistered,
    /// To the wait for the next attempt.
    Waiting(Retry),
    /// To the next attempt now.
    Dialing,
    /// The cloud said this.
    Session(Welcome),
}
