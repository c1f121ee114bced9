//! Why the command failed, and its exit status.

use std::io;

use fedecks_dbus::Device1Error;
use tokio::signal::unix::SignalKind;
use zbus::{DBusError, fdo};

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("no system bus: {0}; is dbus running?")]
    NoBus(String),
    #[error("fedecksd is not running; see the system log, or: systemctl status fedecksd")]
    NotRunning,
    #[error("permission denied; run as root or as a member of the group fedecks")]
    NoPermission,
    #[error("{0}")]
    Rejected(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}; see: fedecks status")]
    NotConnected(String),
    #[error("{0}")]
    Unconfirmed(String),
    #[error("{0}; see: fedecks login --help")]
    NotRegistered(String),
    #[error("{0}")]
    Failed(String),
    /// The reader of the output has closed it.
    #[error("the output was closed")]
    ClosedPipe,
    #[error("ended by a signal")]
    Signal(SignalKind),
}

impl Failure {
    /// As documented in [`EXIT_STATUS`](crate::arguments::EXIT_STATUS).
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NoBus(_) | Self::NotRunning => 3,
            Self::NoPermission => 4,
            Self::Rejected(_) => 5,
            Self::Unreachable(_) => 6,
            Self::NotConnected(_) | Self::NotRegistered(_) => 7,
            Self::Unconfirmed(_) => 8,
            Self::Signal(kind) => {
                128_u8.saturating_add(kind.as_raw_value().try_into().unwrap_or(0))
            }
        }
    }

    /// An error of the bus itself, or of the D-Bus library.
    fn from_bus(name: &str, message: String) -> Self {
        match name {
            "org.freedesktop.DBus.Error.AccessDenied" => Self::NoPermission,
            "org.freedesktop.DBus.Error.ServiceUnknown"
            | "org.freedesktop.DBus.Error.NameHasNoOwner" => Self::NotRunning,
            "org.freedesktop.DBus.Error.NoReply"
            | "org.freedesktop.DBus.Error.Timeout"
            | "org.freedesktop.DBus.Error.TimedOut" => Self::timeout(),
            "org.freedesktop.DBus.Error.Disconnected" => Self::NoBus(message),
            _ => Self::Failed(message),
        }
    }

    fn timeout() -> Self {
        Self::Unreachable(
            "fedecksd did not answer in time; see the system log, or: systemctl status fedecksd"
                .into(),
        )
    }
}

impl From<Device1Error> for Failure {
    fn from(error: Device1Error) -> Self {
        match error {
            Device1Error::ZBus(error) => error.into(),
            Device1Error::Rejected(message) => Self::Rejected(message),
            Device1Error::Unreachable(message) => Self::Unreachable(message),
            Device1Error::NotConnected(message) => Self::NotConnected(message),
            Device1Error::Unconfirmed(message) => Self::Unconfirmed(message),
            Device1Error::NotRegistered(message) => Self::NotRegistered(message),
            Device1Error::InvalidArgument(message) => Self::Usage(message),
            Device1Error::GivenUp(message)
            | Device1Error::TooBig(message)
            | Device1Error::QueueFull(message)
            | Device1Error::StillStored(message)
            | Device1Error::LaneInUse(message)
            | Device1Error::Busy(message) => Self::Failed(message),
        }
    }
}

impl From<zbus::Error> for Failure {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::FDO(error) => (*error).into(),
            zbus::Error::MethodError(name, message, _) => {
                Self::from_bus(&name, message.unwrap_or_else(|| name.to_string()))
            }
            zbus::Error::InputOutput(error) if error.kind() == io::ErrorKind::TimedOut => {
                Self::timeout()
            }
            zbus::Error::InputOutput(error) => Self::NoBus(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<fdo::Error> for Failure {
    fn from(error: fdo::Error) -> Self {
        if let fdo::Error::ZBus(error) = error {
            return error.into();
        }
        let message = error.description().unwrap_or_default().to_owned();
        Self::from_bus(&error.name(), message)
    }
}
