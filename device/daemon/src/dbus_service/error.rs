//! The errors of the client as callers on D-Bus get them.

use fedecks_dbus::Device1Error;
use fedecks_device::{ClientSendError, LogoutError, ReconnectError, Stopped};
use fedecks_device_core::{LoginError, SendError};
use fedecks_protocol::EncodeError;

/// Maps a client error to the D-Bus error that callers see.
pub(super) trait OnBus {
    /// The D-Bus form of this error.
    fn on_bus(self) -> Device1Error;
}

impl OnBus for LoginError {
    fn on_bus(self) -> Device1Error {
        let text = self.to_string();
        match self {
            LoginError::Rejected(_) => Device1Error::Rejected(text),
            LoginError::Invalid(_) => Device1Error::InvalidArgument(text),
            LoginError::GivenUp(_) => Device1Error::GivenUp(text),
        }
    }
}

impl OnBus for ClientSendError {
    fn on_bus(self) -> Device1Error {
        let text = self.to_string();
        match self {
            ClientSendError::Send(SendError::NotConnected) | ClientSendError::Stopped(_) => {
                Device1Error::NotConnected(text)
            }
            ClientSendError::Send(SendError::Encode(
                EncodeError::TooBig { .. } | EncodeError::TooDeep { .. },
            )) => Device1Error::TooBig(text),
            ClientSendError::Send(SendError::Encode(EncodeError::UnknownFrame))
            | ClientSendError::Value(_) => Device1Error::InvalidArgument(text),
        }
    }
}

impl OnBus for LogoutError {
    fn on_bus(self) -> Device1Error {
        match self {
            LogoutError::StillStored(_) => Device1Error::StillStored(self.to_string()),
            LogoutError::Stopped(stopped) => stopped.on_bus(),
        }
    }
}

impl OnBus for ReconnectError {
    fn on_bus(self) -> Device1Error {
        match self {
            ReconnectError::NotRegistered(_) => Device1Error::NotRegistered(self.to_string()),
            ReconnectError::Stopped(stopped) => stopped.on_bus(),
        }
    }
}

impl OnBus for Stopped {
    fn on_bus(self) -> Device1Error {
        Device1Error::GivenUp(self.to_string())
    }
}
