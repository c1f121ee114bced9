//! Why a command failed, and its exit code.

use std::path::PathBuf;

use fedecks_cloud::accounts::PasswordError;
use fedecks_protocol::{DeviceId, InvalidDeviceId};
use fedecks_store::{
    FloorFileError, InvalidAccountName, InvalidLabel, InvalidTokenName, StoreError,
};

use crate::config::ConfigError;
use crate::error::ServerError;

/// EX_TEMPFAIL of sysexits.h: the next start may succeed.
const IN_USE: u8 = 75;

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
    Floor(#[from] FloorFileError),
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
    #[error("no store at {}; check --config and --data-dir", .0.display())]
    NoStore(PathBuf),
    #[error("no such backup: {}", .0.display())]
    NoBackup(PathBuf),
    #[error("no such account: {0:?}")]
    NoAccount(String),
    #[error("no such device: {0}")]
    NoDevice(DeviceId),
    #[error("the device {0} is blocked, and forgetting it would let it in again: unblock it first")]
    Blocked(DeviceId),
    #[error("no such API token: {0:?}")]
    NoToken(String),
    #[error("the copy is not text: redirect standard output to a file or a program")]
    TerminalOutput,
    #[error("the clock shows {clock}, but this program was built at {built}: set the clock")]
    ClockBeforeBuild { clock: String, built: String },
    #[error(
        "the clock shows {clock}, but it was {floor} before: an end cannot be counted from a wrong time; \
         see `fedecks-cloud clock show`"
    )]
    ClockBehind { clock: String, floor: String },
    #[error("the two passwords differ")]
    PasswordsDiffer,
    #[error("the server would start, but devices would refuse its certificate")]
    RefusedCertificate,
    #[error("{0} of the problems above would keep the server from starting")]
    CannotListen(usize),
    #[error("interrupted by a signal")]
    Signal(i32),
}

impl CliError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => WRONG_CONFIGURATION,
            Self::Server(error) if error.is_configuration() => WRONG_CONFIGURATION,
            Self::Server(ServerError::StoreInUse(_)) => IN_USE,
            // As a shell reports a program that a signal ended.
            Self::Signal(number) => u8::try_from(128 + number).unwrap_or(u8::MAX),
            _ => 1,
        }
    }
}
