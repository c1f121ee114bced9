//! Why the certificate of a client is not accepted, as a word and as a sentence.

use std::fmt;

/// Why the certificate of a client is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRefused {
    reason: &'static str,
    text: String,
}

impl CertificateRefused {
    pub(crate) fn new(reason: &'static str, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }

    /// The reason in a word, such as `expired` or `revoked`.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

impl fmt::Display for CertificateRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CertificateRefused {}
