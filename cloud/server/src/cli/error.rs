//! Why a command failed, and its exit code.

use std::path::PathBuf;

use fedecks_cloud::accounts::PasswordError;
use fedecks_protocol::{DeviceId, InvalidDeviceId};
use fedecks_store::{
    ClaimId, FloorFileError, InvalidAccountName, InvalidLabel, InvalidTokenName, StoreError,
};

use crate::claims::InvalidOrder;
use crate::config::ConfigError;
use crate::error::ServerError;

const FAILURE: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// EX_TEMPFAIL of sysexits.h: the next start may succeed.
const IN_USE: u8 = 75;

/// EX_CONFIG of sysexits.h.
const WRONG_CONFIGURATION: u8 = 78;

/// An operator has drained the server, so that it must not be started again by itself.
const DRAINED: u8 = 79;

/// As a shell reports a program that a signal ended.
const SIGNAL: u8 = 128;

/// What the exit statuses mean, for the help and the manual page.
pub(super) const EXIT_STATUS: [(u8, &str); 7] = [
    (0, "success, even if the reader closed the output early"),
    (
        FAILURE,
        "any other failure, such as an unknown device; a certificate that devices would refuse",
    ),
    (WRONG_USAGE, "invalid arguments or input, such as an id or a password"),
    (
        IN_USE,
        "another server uses the store or the data directory, or the lease of the database was lost",
    ),
    (
        WRONG_CONFIGURATION,
        "invalid configuration, or no store, or one that was moved to a database",
    ),
    (DRAINED, "the server was ended by `node drain`; systemd does not start it again"),
    (SIGNAL + 2, "interrupted by Ctrl-C (generally 128 plus the signal number)"),
];

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
    #[error(transparent)]
    Order(#[from] InvalidOrder),
    #[error("{}, line {number}: {error}", file.display())]
    IdInFile { file: PathBuf, number: usize, error: InvalidDeviceId },
    #[error("no store at {}; check --config, --data-dir and FEDECKS_DATA_DIR", .0.display())]
    NoStore(PathBuf),
    #[error(
        "`fedecks-cloud {command}` is for a store in a file, but this one is a PostgreSQL database: {instead}, such as \
         `{example}`"
    )]
    IsDatabase { command: &'static str, instead: &'static str, example: String },
    #[error(
        "`fedecks-cloud {0}` is for a store in a PostgreSQL database, but this one is a file, which has one server"
    )]
    IsFile(&'static str),
    #[error("{option}: {problem}")]
    WrongTarget { option: &'static str, problem: String },
    #[error(
        "{0}. `migrate` needs an empty database: make one as for `store init`, without running that. Nothing was changed"
    )]
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "needs a database"))]
    TargetNotEmpty(StoreError),
    #[error("{0}. The file is complete: when the problem is solved, run the same command again")]
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "needs a database"))]
    NotMigrated(StoreError),
    #[error("no such backup: {}", .0.display())]
    NoBackup(PathBuf),
    #[error("no such account: {0:?}")]
    NoAccount(String),
    #[error("no such device: {0}")]
    NoDevice(DeviceId),
    #[error(
        "no such device: {0}; if it logged in after the backup that was restored, add --allow-unknown"
    )]
    UnknownDevice(DeviceId),
    #[error("the device {0} is blocked, and forgetting it would let it in again: unblock it first")]
    Blocked(DeviceId),
    #[error("no such claim: {0}")]
    NoClaim(ClaimId),
    #[error("the device {0} does not wait for an approval")]
    NoApproval(DeviceId),
    #[error("no device matches")]
    NoMatch,
    #[error("no such API token: {0:?}")]
    NoToken(String),
    #[error("no server {0:?} serves: see `fedecks-cloud node list`")]
    NoNode(String),
    #[error(
        "several servers are named {0:?}: name one by its id, which `fedecks-cloud node list` shows last"
    )]
    ManyNodes(String),
    #[error(
        "fewer than two servers serve together, so there is nowhere to move devices: see `fedecks-cloud node list`"
    )]
    FewNodes,
    #[error("no webhook named {0:?} in the configuration")]
    NoWebhook(String),
    #[error("a backup is binary: redirect standard output to a file or a program")]
    TerminalOutput,
    #[error("the clock shows {clock}, but this program was built at {built}: set the clock")]
    ClockBeforeBuild { clock: String, built: String },
    #[error(
        "the clock shows {clock}, but it was {floor} before: an end cannot be counted from a wrong time; \
         see `fedecks-cloud clock show`"
    )]
    ClockBehind { clock: String, floor: String },
    #[error("--expires: must be at least 1s")]
    NoLifetime,
    #[error("the two passwords differ")]
    PasswordsDiffer,
    #[error("the server would start, but devices would refuse its certificate")]
    RefusedCertificate,
    #[error("the server would start, but refuse the certificates of devices")]
    RefusesDevices,
    #[error("{0} of the problems above would keep the server from starting")]
    CannotListen(usize),
    #[error("interrupted by a signal")]
    Signal(i32),
}

impl CliError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::NoStore(_) => WRONG_CONFIGURATION,
            Self::Server(error) if error.is_configuration() => WRONG_CONFIGURATION,
            Self::Server(
                ServerError::StoreInUse(_) | ServerError::DataDirInUse(_) | ServerError::LeaseLost,
            ) => IN_USE,
            Self::Server(ServerError::Drained) => DRAINED,
            Self::Password(_)
            | Self::PasswordsDiffer
            | Self::NoLifetime
            | Self::AccountName(_)
            | Self::DeviceId(_)
            | Self::Label(_)
            | Self::TokenName(_)
            | Self::Order(_)
            | Self::IdInFile { .. }
            | Self::IsDatabase { .. }
            | Self::IsFile(_)
            | Self::WrongTarget { .. }
            | Self::TerminalOutput => WRONG_USAGE,
            Self::Signal(number) => SIGNAL.saturating_add(u8::try_from(*number).unwrap_or(u8::MAX)),
            Self::Server(_)
            | Self::Store(_)
            | Self::Floor(_)
            | Self::NoBackup(_)
            | Self::TargetNotEmpty(_)
            | Self::NotMigrated(_)
            | Self::NoAccount(_)
            | Self::NoDevice(_)
            | Self::UnknownDevice(_)
            | Self::Blocked(_)
            | Self::NoClaim(_)
            | Self::NoApproval(_)
            | Self::NoMatch
            | Self::NoToken(_)
            | Self::NoWebhook(_)
            | Self::NoNode(_)
            | Self::ManyNodes(_)
            | Self::FewNodes
            | Self::ClockBeforeBuild { .. }
            | Self::ClockBehind { .. }
            | Self::RefusedCertificate
            | Self::RefusesDevices
            | Self::CannotListen(_) => FAILURE,
        }
    }
}
