use fedecks_device_core::{Connection, State};

/// What the connection is doing, as of the last event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// How many attempts or connections have failed since one was stable.
    pub failures: u32,
    /// When the token that brings the device back expires, in seconds since 1970-01-01 UTC; none
    /// without a token.
    pub token_expires_at: Option<u64>,
}

impl Status {
    pub(crate) fn of(core: &Connection) -> Self {
        Self {
            state: core.state(),
            failures: core.failures(),
            token_expires_at: core.token().map(|issued| issued.expires_at),
        }
    }
}
