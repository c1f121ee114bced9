//! The transition that a state asks for. The connection makes it.

use fedecks_protocol::Welcome;

use super::retry_policy::Retry;

#[derive(Debug)]
pub(super) enum Next {
    /// Wait for the next attempt, or for a token or a login.
    Waiting(Retry),
    /// Start the next attempt.
    Dialing,
    /// Start the session with this Welcome.
    Session(Welcome),
}
