//! Why the service ended.

use std::io;

use fedecks_device::StartError;
use fedecks_protocol::DeviceId;

use crate::config::ConfigError;
use crate::identity::NoIdentity;

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Nothing says who this device is.
    #[error(transparent)]
    NoIdentity(#[from] NoIdentity),
    /// The data directory came up late and remembers another device id than the one of this run.
    #[error("the data directory is there now and says that this device is {0}: start again")]
    AnotherIdentity(DeviceId),
    /// The system refused something that every process may have.
    #[error("{what}: {error}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// The connection's loop ended by itself; the log says why.
    #[error("the connection's loop ended")]
    Ended,
}

impl DaemonError {
    /// The exit status that goes with it; 78 is `EX_CONFIG` of sysexits.h.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Start(StartError::Tls(_)) => ConfigError::EXIT_CODE,
            Self::Start(StartError::Timer(_))
            | Self::NoIdentity(_)
            | Self::AnotherIdentity(_)
            | Self::System { .. }
            | Self::Ended => 1,
        }
    }
}
