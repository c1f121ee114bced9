//! Maps the client's errors to those of the D-Bus interface.

use fedecks_dbus::Device1Error;
use fedecks_device::error::{ClientSendError, LogoutError, ReconnectError, Stopped};
use fedecks_device::kept::{KeepError, SendKeptError};
use fedecks_device_core::{LoginError, SendError};
use fedecks_protocol::{DeviceId, EncodeError};

use crate::login_error::explain;

/// Maps a client error to the D-Bus error that callers see.
pub(super) trait IntoDbusError {
    fn into_dbus_error(self) -> Device1Error;
}

impl IntoDbusError for Device1Error {
    fn into_dbus_error(self) -> Device1Error {
        self
    }
}

/// The error of a login of this device, with what to do about it.
pub(super) fn login_error(error: LoginError, device: &DeviceId) -> Device1Error {
    let text = explain(&error, device);
    match error {
        LoginError::Rejected(_) => Device1Error::Rejected(text),
        LoginError::Invalid(_) => Device1Error::InvalidArgument(text),
        LoginError::GivenUp(_) | _ => Device1Error::GivenUp(text),
    }
}

impl IntoDbusError for ClientSendError {
    fn into_dbus_error(self) -> Device1Error {
        let text = self.to_string();
        match self {
            ClientSendError::Send(SendError::NotConnected) | ClientSendError::Stopped(_) => {
                Device1Error::NotConnected(text)
            }
            ClientSendError::Send(SendError::Unconfirmed) => Device1Error::Unconfirmed(text),
            ClientSendError::Send(SendError::Encode(
                EncodeError::TooBig { .. }
                | EncodeError::TooHeavy { .. }
                | EncodeError::TooDeep { .. },
            )) => Device1Error::TooBig(text),
            ClientSendError::Send(SendError::Encode(EncodeError::UnknownFrame))
            | ClientSendError::Value(_)
            | _ => Device1Error::InvalidArgument(text),
        }
    }
}

impl IntoDbusError for SendKeptError {
    fn into_dbus_error(self) -> Device1Error {
        let text = self.to_string();
        match self {
            SendKeptError::Keep(KeepError::QueueFull { .. }) => Device1Error::QueueFull(text),
            // It is queued, and may arrive.
            SendKeptError::Keep(KeepError::Disk { .. }) => Device1Error::Unconfirmed(text),
            SendKeptError::Keep(KeepError::Encode(EncodeError::UnknownFrame))
            | SendKeptError::Value(_) => Device1Error::InvalidArgument(text),
            SendKeptError::Keep(KeepError::Encode(_)) => Device1Error::TooBig(text),
            SendKeptError::Keep(_) | SendKeptError::Stopped(_) | _ => Device1Error::GivenUp(text),
        }
    }
}

impl IntoDbusError for LogoutError {
    fn into_dbus_error(self) -> Device1Error {
        match self {
            LogoutError::StillStored(_) => Device1Error::StillStored(self.to_string()),
            LogoutError::Stopped(stopped) => stopped.into_dbus_error(),
            _ => Device1Error::StillStored(self.to_string()),
        }
    }
}

impl IntoDbusError for ReconnectError {
    fn into_dbus_error(self) -> Device1Error {
        match self {
            ReconnectError::NotRegistered(_) => Device1Error::NotRegistered(self.to_string()),
            ReconnectError::Stopped(stopped) => stopped.into_dbus_error(),
            _ => Device1Error::NotRegistered(self.to_string()),
        }
    }
}

impl IntoDbusError for Stopped {
    fn into_dbus_error(self) -> Device1Error {
        Device1Error::GivenUp(self.to_string())
    }
}
