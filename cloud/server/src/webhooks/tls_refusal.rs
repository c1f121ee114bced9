//! Why the TLS connection to a receiver failed, in a sentence that says what to do. The library's own messages
//! are for programmers.

use std::error::Error;
use std::io;

use fedecks_common::utc;
use rustls::{CertificateError, InvalidMessage};

/// Signature algorithms that are not supported, by a part of their encoding.
const UNSUPPORTED: [(&[u8], &str); 4] = [
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4], "ECDSA with SHA-512"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1], "ECDSA with SHA-1"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], "RSA with SHA-1"),
    (&[0x2b, 0x65, 0x71], "Ed448"),
];

/// How many names of a certificate are shown.
const NAMES_SHOWN: usize = 5;

/// What was wrong, if an error was caused by TLS. Completes a sentence about the receiver.
pub(super) fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    // An I/O error hides the one that it was made of from `source`.
    let mut causes = std::iter::successors(Some(error), |&cause| {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| cause.source())
    });
    let error = causes.find_map(|cause| cause.downcast_ref::<rustls::Error>())?;
    Some(match error {
        rustls::Error::InvalidCertificate(problem) => certificate(problem),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "does not speak TLS at this port; correct the port of url".into()
        }
        rustls::Error::PeerIncompatible(problem) => format!(
            "has no TLS settings in common with this server, which needs TLS 1.2 or 1.3: update it ({problem:?})"
        ),
        rustls::Error::AlertReceived(alert) => {
            format!("ended the TLS handshake with the alert {alert:?}; its log may say why")
        }
        error => format!("failed the TLS handshake: {error}"),
    })
}

fn certificate(problem: &CertificateError) -> String {
    match problem {
        CertificateError::UnknownIssuer => {
            "has a certificate of an authority that is not trusted: it has to send its intermediate certificates \
             as well, or ca_file of the webhook needs the authority"
                .into()
        }
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "has a certificate that expired at {}: renew it there, or set the clock of this machine",
            utc(not_after.as_secs())
        ),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "has a certificate that is not valid before {}: set the clock of this machine",
            utc(not_before.as_secs())
        ),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().take(NAMES_SHOWN).map(String::as_str).collect();
            format!(
                "has a certificate for other names than that of url: {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            )
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id,
            ..
        } => {
            let is_in = |part: &[u8]| signature_algorithm_id.windows(part.len()).any(|w| w == part);
            let known = UNSUPPORTED.iter().find(|(part, _)| is_in(part)).map(|(_, name)| *name);
            format!(
                "has a certificate that is signed by {}, which is not supported: have it issued again with \
                 SHA-256 or SHA-384",
                known.unwrap_or("another algorithm or for another key than usual")
            )
        }
        problem => format!("has a certificate that is not accepted: {problem}"),
    }
}

#[cfg(test)]
mod tests {
    use rustls::Error as Tls;
    use rustls_pki_types::UnixTime;

    use super::*;

    #[test]
    fn refusals_of_a_receiver_are_explained() {
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_580_428_800));
        let algorithm = |id: &[u8]| CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: id.to_vec(),
            supported_algorithms: Vec::new(),
        };
        for (error, expected) in [
            (CertificateError::UnknownIssuer.into(), "an authority that is not trusted: it has to"),
            (
                CertificateError::ExpiredContext { time, not_after: time }.into(),
                "that expired at 2020-01-31T00:00:00Z: renew it there",
            ),
            (
                algorithm(&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4]).into(),
                "that is signed by ECDSA with SHA-512, which is not supported",
            ),
            (InvalidMessage::InvalidContentType.into(), "does not speak TLS at this port"),
            (
                Tls::AlertReceived(rustls::AlertDescription::HandshakeFailure),
                "HandshakeFailure; its",
            ),
        ] {
            let told = explain(&io::Error::other(Tls::clone(&error))).unwrap();
            assert!(told.contains(expected), "{error:?}: {told}");
        }
        assert_eq!(explain(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }
}
