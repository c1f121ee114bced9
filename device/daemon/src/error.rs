//! The errors that end the service, and its exit status.

use std::io;

use fedecks_device::error::StartError;
use fedecks_device::storage::StoreError;
use fedecks_protocol::DeviceId;

use crate::config::{ConfigError, DeviceConfig};
use crate::identity::NoIdentity;

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another process uses the data directory, most likely another fedecksd.
    #[error("{0}, most likely another fedecksd, which this one would replace at the cloud")]
    InUse(StoreError),
    /// The client did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The device id cannot be determined.
    #[error(transparent)]
    NoIdentity(#[from] NoIdentity),
    /// The data directory became available late and has another device id than the one of this run.
    #[error(
        "the data directory, which was not available at startup, has the device id {0}: restart the service"
    )]
    AnotherIdentity(DeviceId),
    /// A basic system call failed.
    #[error("{what}: {error}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// The system's error.
        error: io::Error,
    },
    /// A check failed.
    #[error("{error}{by}")]
    Check {
        /// Why the service would not run.
        error: Box<DaemonError>,
        /// Who checked, if that was not the caller.
        by: String,
    },
    /// A check as another user is impossible.
    #[error("cannot check as the user {user}: {error}")]
    User {
        /// Its name.
        user: String,
        /// The reason.
        error: io::Error,
    },
    /// The client stopped by itself; the log has the reason.
    #[error("the client stopped")]
    Stopped,
}

impl DeviceConfig {
    /// Why the client did not start, at the key of the configuration that names the file.
    pub(crate) fn explain(&self, error: StartError) -> DaemonError {
        match error {
            StartError::Tls(error) => self.tls_places.report(&self.tls, &error).into(),
            error => error.into(),
        }
    }
}

impl DaemonError {
    /// `EX_TEMPFAIL` of sysexits.h: the next start may succeed.
    const IN_USE_EXIT_CODE: u8 = 75;

    /// The exit status for this error; 78 is `EX_CONFIG` of sysexits.h.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Start(StartError::Tls(_)) => ConfigError::EXIT_CODE,
            Self::InUse(_) => Self::IN_USE_EXIT_CODE,
            Self::Check { error, .. } => error.exit_code(),
            _ => 1,
        }
    }
}
