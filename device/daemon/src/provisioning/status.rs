//! What is told of the places where credentials for a login may lie.

use std::path::PathBuf;

use serde::Serialize;

/// What is known of the places where credentials for a login may lie. Shows no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ProvisioningReport {
    /// Each place, in the order in which they are used.
    pub(crate) sources: Vec<SourceReport>,
}

/// One such place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SourceReport {
    /// What it is.
    pub(crate) kind: SourceKind,
    /// Where it is.
    pub(crate) place: PathBuf,
    /// What became of it.
    pub(crate) state: SourceState,
    /// Whether secrets lie there, as far as is known.
    pub(crate) is_there: bool,
    /// Why it is so, in words, where there is something to say.
    pub(crate) reason: Option<String>,
}

/// What kind of place it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SourceKind {
    /// The provisioning file.
    File,
    /// A credential that systemd hands to the service.
    Credential,
}

/// What became of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SourceState {
    /// Nothing is there.
    Absent,
    /// What is there cannot be read or understood.
    Unusable,
    /// The login with it is under way.
    LoggingIn,
    /// The login has succeeded, but the token is not on disk yet.
    Unstored,
    /// The login has succeeded and the token is on disk, now or at an earlier start.
    Used,
    /// The cloud does not accept it. It is not tried again.
    Rejected,
    /// It was not used for a reason that is not its own. The next start tries it again.
    PutOff,
}

impl SourceKind {
    /// Its name in the log and in the store.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Credential => "credential",
        }
    }
}
