//! What the service answers when it fails.

use crate::variant::VariantError;

/// What a method of the D-Bus service answers when it fails: the errors
/// `org.fedecks.Device1.Error.*`, each with a sentence for people.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.fedecks.Device1.Error")]
pub enum Device1Error {
    /// Another error: of the bus, of D-Bus itself, or that nobody answered.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// The cloud said no to the credentials.
    Rejected(String),
    /// The cloud did not answer in time. What was asked for goes on waiting for it.
    Unreachable(String),
    /// A newer login, a logout or the end of the service came before the cloud's answer.
    GivenUp(String),
    /// The value given cannot be sent to the cloud.
    InvalidArgument(String),
    /// There is no connection to the cloud now.
    NotConnected(String),
    /// The value given is bigger or deeper than the cloud takes.
    TooBig(String),
    /// The device is logged out, but the token could not be removed from the disk yet.
    StillStored(String),
    /// There is no token and nobody has logged in.
    NotRegistered(String),
    /// Too many calls wait for their answers.
    Busy(String),
}

impl From<VariantError> for Device1Error {
    fn from(error: VariantError) -> Self {
        let text = error.to_string();
        match error {
            VariantError::TooBig { .. } | VariantError::TooDeep => Self::TooBig(text),
            VariantError::Key(_) | VariantError::FileDescriptor | VariantError::Escape(_) => {
                Self::InvalidArgument(text)
            }
        }
    }
}
