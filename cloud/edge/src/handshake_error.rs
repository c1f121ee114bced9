//! Why a TLS handshake with a client failed, in a sentence that says what to do. Only for what an operator can do
//! something about; a client that goes away, as port scanners and health checks do, is none of it.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enums are of other crates, and a new variant needs no decision here"
)]

use std::io;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

/// The client's certificate was refused, or it presented none and has to.
pub(crate) fn is_about_client_certificate(error: &io::Error) -> bool {
    matches!(
        error.get_ref().and_then(|error| error.downcast_ref()),
        Some(
            Error::NoCertificatesPresented
                | Error::InvalidCertificate(_)
                | Error::InvalidCertRevocationList(_)
        )
    )
}

/// What is wrong, if someone can mend it.
pub(crate) fn explain(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        // Logged where it was refused, with its names.
        Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => return None,
        Error::NoCertificatesPresented => {
            "the client presented no certificate, which this listener requires: configure its client_cert and \
             client_key; expected is a key for ECDSA P-256 or P-384, Ed25519 or RSA"
                .into()
        }
        Error::AlertReceived(alert) => refused(*alert),
        Error::PeerIncompatible(problem) => incompatible(problem),
        Error::NoApplicationProtocol => {
            "the client offers no HTTP/1.1 (ALPN): configure it for HTTP/1.1".into()
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "the client does not speak TLS; its URL has to begin with wss:// or https://".into(),
        Error::InvalidMessage(_) | Error::PeerMisbehaved(_) | Error::DecryptError => {
            format!(
                "the client does not speak TLS correctly, or something between changes it ({error})"
            )
        }
        error => error.to_string(),
    })
}

/// The client refused the server's certificate or settings, and said so.
fn refused(alert: AlertDescription) -> String {
    let reason = match alert {
        AlertDescription::UnknownCA => {
            "the client does not trust the authority of the certificate: add the missing intermediate to the \
             certificate's file, or the authority to the device's ca_file; `fedecks-cloud check-config` shows \
             the chain"
        }
        AlertDescription::CertificateExpired => {
            "for the client the certificate has expired or is not valid yet: renew it, or set the client's clock"
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked => {
            "the client refuses the certificate: compare its names with the client's URL; `fedecks-cloud \
             check-config` shows them"
        }
        AlertDescription::DecryptError => {
            "the client cannot verify the signature of the certificate, or of the handshake"
        }
        AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity
        | AlertDescription::ProtocolVersion => {
            "the client accepts none of the server's TLS settings: update the client"
        }
        AlertDescription::UnrecognisedName => {
            "the client refuses the name that the server presents: compare the certificate's names with its URL"
        }
        _ => return format!("the client ended the handshake with the alert {alert:?}"),
    };
    format!("{reason} (alert {alert:?})")
}

fn incompatible(problem: &PeerIncompatible) -> String {
    match problem {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        // rustls looks for this extension of TLS 1.2 before it looks at the version.
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => format!(
            "the client offers only TLS 1.1 or older: update it, as 1.2 or 1.3 is needed ({problem:?})"
        ),
        PeerIncompatible::NoCipherSuitesInCommon
        | PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::EcPointsExtensionRequired
        | PeerIncompatible::NoEcPointFormatsInCommon => format!(
            "the client has no cipher suite or key exchange in common with the server: update it; needed is \
             ECDHE with P-256, P-384 or X25519, and AES-GCM or ChaCha20 ({problem:?})"
        ),
        PeerIncompatible::NoSignatureSchemesInCommon => format!(
            "the client cannot verify signatures by the key of the certificate: update it, or use a key of \
             another type, such as ECDSA P-256 or RSA ({problem:?})"
        ),
        PeerIncompatible::ExtendedMasterSecretExtensionRequired => {
            "the client lacks the extended master secret of TLS 1.2: update it".into()
        }
        problem => format!("the client and the server have no TLS settings in common: {problem:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_explained_and_departures_are_not() {
        let gone = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(explain(&gone), None);
        for (error, expected) in [
            (Error::AlertReceived(AlertDescription::UnknownCA), "does not trust the authority"),
            (Error::AlertReceived(AlertDescription::CertificateExpired), "set the client's clock"),
            (Error::AlertReceived(AlertDescription::BadCertificate), "compare its names"),
            (PeerIncompatible::Tls12NotOfferedOrEnabled.into(), "only TLS 1.1 or older"),
            (PeerIncompatible::NoCipherSuitesInCommon.into(), "no cipher suite"),
            (PeerIncompatible::NoSignatureSchemesInCommon.into(), "key of the certificate"),
            (Error::NoApplicationProtocol, "configure it for HTTP/1.1"),
            (Error::NoCertificatesPresented, "its client_cert and client_key"),
            (InvalidMessage::InvalidContentType.into(), "does not speak TLS; its URL"),
        ] {
            let explained = explain(&io::Error::other(error.clone())).unwrap();
            assert!(explained.contains(expected), "{error:?}: {explained}");
        }
    }
}
