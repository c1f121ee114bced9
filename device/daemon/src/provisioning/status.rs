//! The status of the credential sources, for health and D-Bus.

use std::path::PathBuf;

use serde::Serialize;

/// The status of all credential sources. Shows no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ProvisioningStatus {
    /// In the order in which they are used.
    pub(crate) sources: Vec<SourceStatus>,
}

/// The status of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SourceStatus {
    pub(crate) kind: SourceKind,
    pub(crate) place: PathBuf,
    pub(crate) state: SourceState,
    /// Whether there are secrets, as far as is known.
    pub(crate) is_there: bool,
    /// The reason for the state, if there is more to say.
    pub(crate) reason: Option<String>,
}

/// The kind of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SourceKind {
    /// The provisioning file.
    File,
    /// A systemd credential.
    Credential,
    /// The device's own certificate, without credentials.
    Certificate,
}

/// The state of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SourceState {
    /// There are no credentials.
    Absent,
    /// The credentials cannot be read or parsed.
    Unusable,
    /// The login is in progress.
    LoggingIn,
    /// The login has succeeded, but the token is not on disk yet.
    Unstored,
    /// The login has succeeded and the token is on disk, now or at an earlier start.
    Used,
    /// The cloud has rejected the credentials. They are not tried again.
    Rejected,
    /// The credentials were not used, for a reason other than themselves. They are tried again later, or at the next
    /// start.
    PutOff,
}

impl SourceKind {
    /// The name in the log and in the record.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Credential => "credential",
            Self::Certificate => "certificate",
        }
    }
}
