//! Why a command failed, and with which exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use fedecks_cloud::accounts::PasswordError;
use fedecks_protocol::{DeviceId, InvalidDeviceId};
use fedecks_store::{InvalidAccountName, InvalidLabel, InvalidTokenName, StoreError};

use crate::config::ConfigError;
use crate::error::ServerError;

/// EX_CONFIG of sysexits.h.
const WRONG_CONFIGURATION: u8 = 78;

#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    AccountName(#[from] InvalidAccountName),
    #[error(transparent)]
    DeviceId(#[from] InvalidDeviceId),
    #[error(transparent)]
    Label(#[from] InvalidLabel),
    #[error(transparent)]
    TokenName(#[from] InvalidTokenName),
    #[error("there is no store at {}; do --config and --data-dir say the right place?", .0.display())]
    NoStore(PathBuf),
    #[error("there is no account {0:?}")]
    NoAccount(String),
    #[error("there is no device {0}")]
    NoDevice(DeviceId),
    #[error("the device {0} is blocked, and would not be if it were forgotten: unblock it first")]
    Blocked(DeviceId),
    #[error("there is no API token {0:?}")]
    NoToken(String),
    #[error("the two passwords differ")]
    PasswordsDiffer,
    #[error("ended by a signal")]
    Signal(u8),
}

impl CliError {
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => WRONG_CONFIGURATION.into(),
            Self::Server(error) if error.is_configuration() => WRONG_CONFIGURATION.into(),
            Self::Signal(number) => (128_u8.saturating_add(*number)).into(),
            Self::Server(_)
            | Self::Store(_)
            | Self::Password(_)
            | Self::AccountName(_)
            | Self::DeviceId(_)
            | Self::Label(_)
            | Self::TokenName(_)
            | Self::NoStore(_)
            | Self::NoAccount(_)
            | Self::NoDevice(_)
            | Self::Blocked(_)
            | Self::NoToken(_)
            | Self::PasswordsDiffer => ExitCode::FAILURE,
        }
    }
}
