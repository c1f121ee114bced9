//! The certificate that a client has presented, as the filter sees it, and whether it is still good.

use std::fmt;
use std::sync::Arc;

use crate::certificate_refused::CertificateRefused;

/// Verifies a certificate again.
pub(crate) trait Verification: Send + Sync {
    /// As [`ClientCertificate::check`].
    fn check(&self, now: u64) -> Result<(), CertificateRefused>;

    /// What does the same for [`LiveCertificate::check`].
    fn live(&self) -> Arc<dyn LiveVerification>;
}

/// Checks whether a certificate was revoked, in little memory.
pub(crate) trait LiveVerification: Send + Sync {
    fn check(&self) -> Result<(), CertificateRefused>;
}

/// The certificate of a client, see [`Peer::certificate`](crate::Peer::certificate). Its authority was verified by the
/// accept loop when the connection was opened; [`ClientCertificate::check`] does it again.
///
/// An accept loop of your own makes one of what it has verified:
///
/// ```
/// use fedecks_cloud::serve::ClientCertificate;
///
/// let certificate = ClientCertificate::new([7; 32]).with(|it| {
///     it.common_name = Some("kitchen-1".to_owned());
///     it.not_after = 1_900_000_000;
/// });
/// assert!(certificate.check(1_800_000_000).is_ok());
/// assert_eq!(certificate.check(1_900_000_001).unwrap_err().reason(), "expired");
/// ```
#[non_exhaustive]
pub struct ClientCertificate {
    /// The whole subject, for people.
    pub subject: String,
    /// The common name of the subject; `None` if there is none, or more than one.
    pub common_name: Option<String>,
    /// The DNS names of the subjectAltName.
    pub dns_names: Vec<String>,
    /// The URIs of the subjectAltName.
    pub uris: Vec<String>,
    /// The SHA-256 of the SubjectPublicKeyInfo: which key it is, in each certificate for it.
    pub key: [u8; 32],
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// The issuer, for people.
    pub issuer: String,
    /// When it becomes valid, in seconds since 1970-01-01 UTC.
    pub not_before: u64,
    /// When it expires, in seconds since 1970-01-01 UTC.
    pub not_after: u64,
    pub(crate) verification: Option<Box<dyn Verification>>,
}

impl ClientCertificate {
    /// One without names, valid at any time, with this SHA-256 of its SubjectPublicKeyInfo.
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            subject: String::new(),
            common_name: None,
            dns_names: Vec::new(),
            uris: Vec::new(),
            key,
            serial: String::new(),
            issuer: String::new(),
            not_before: 0,
            not_after: u64::MAX,
            verification: None,
        }
    }

    /// This certificate after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Whether it is good at `now`, in seconds since 1970-01-01 UTC: by its dates, and by the authorities and
    /// revocation lists that the listener has loaded now. TLS does not ask this when a session is resumed.
    ///
    /// Signatures that were verified within the last minute, by the same authorities and lists, are not verified again.
    pub fn check(&self, now: u64) -> Result<(), CertificateRefused> {
        check_dates(self.not_before, self.not_after, now)?;
        self.verification.as_ref().map_or(Ok(()), |verification| verification.check(now))
    }

    /// What remains of it for as long as a connection is open.
    pub fn live(&self) -> LiveCertificate {
        LiveCertificate {
            key: self.key,
            not_after: self.not_after,
            lists: self.verification.as_ref().map(|verification| verification.live()),
        }
    }
}

/// What has to be known of a [`ClientCertificate`] while its connection is open, in little memory.
#[derive(Clone)]
pub struct LiveCertificate {
    key: [u8; 32],
    not_after: u64,
    lists: Option<Arc<dyn LiveVerification>>,
}

impl LiveCertificate {
    /// The SHA-256 of its SubjectPublicKeyInfo.
    pub fn key(&self) -> [u8; 32] {
        self.key
    }

    /// Whether it has not expired at `now`, in seconds since 1970-01-01 UTC, and is not revoked by a list that the
    /// listener has loaded now, nor is an authority between it and the listener's.
    pub fn check(&self, now: u64) -> Result<(), CertificateRefused> {
        check_dates(0, self.not_after, now)?;
        self.lists.as_ref().map_or(Ok(()), |lists| lists.check())
    }
}

fn check_dates(not_before: u64, not_after: u64, now: u64) -> Result<(), CertificateRefused> {
    let utc = fedecks_common::utc;
    if now < not_before {
        let (start, now) = (utc(not_before), utc(now));
        let text = format!(
            "it is not valid before {start}, and the server's clock shows {now}: issue it with an earlier start, or \
             set the server's clock"
        );
        return Err(CertificateRefused::new("not-yet-valid", text));
    }
    if now > not_after {
        let text = format!("it expired at {}: renew it", utc(not_after));
        return Err(CertificateRefused::new("expired", text));
    }
    Ok(())
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, serial, issuer, .. } = self;
        f.debug_struct("ClientCertificate")
            .field("subject", subject)
            .field("serial", serial)
            .field("issuer", issuer)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LiveCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveCertificate")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The same certificate: of the same issuer, with the same serial number and key.
impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        let identity = |it: &Self| (it.key, it.not_after);
        identity(self) == identity(other)
            && self.serial == other.serial
            && self.issuer == other.issuer
    }
}

impl Eq for ClientCertificate {}
