//! The D-Bus errors of the service.

use crate::variant::VariantError;

/// The errors `org.fedecks.Device1.Error.*` of the service's methods, each with a sentence for people.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.fedecks.Device1.Error")]
pub enum Device1Error {
    /// Any other error: from the bus or the D-Bus library, or because there was no reply.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// The cloud rejected the credentials.
    Rejected(String),
    /// The cloud did not answer in time. The request stays pending.
    Unreachable(String),
    /// A newer login, a logout or the end of the service preceded the cloud's answer.
    GivenUp(String),
    /// The value cannot be sent to the cloud.
    InvalidArgument(String),
    /// There is no connection to the cloud at present.
    NotConnected(String),
    /// It was sent, and the cloud has not confirmed it: it may have arrived.
    Unconfirmed(String),
    /// The messages that wait take all the memory that they may.
    QueueFull(String),
    /// The value is bigger or more deeply nested than the cloud accepts.
    TooBig(String),
    /// The device is logged out, but the token could not be removed from the disk yet.
    StillStored(String),
    /// There is neither a token nor a pending login.
    NotRegistered(String),
    /// Too many calls are pending.
    Busy(String),
    /// Another program takes the kept messages of the lane.
    LaneInUse(String),
}

impl From<VariantError> for Device1Error {
    fn from(error: VariantError) -> Self {
        let text = error.to_string();
        match error {
            VariantError::TooBig { .. } | VariantError::TooHeavy { .. } | VariantError::TooDeep => {
                Self::TooBig(text)
            }
            VariantError::Key(_) | VariantError::FileDescriptor | VariantError::Escape(_) => {
                Self::InvalidArgument(text)
            }
        }
    }
}
