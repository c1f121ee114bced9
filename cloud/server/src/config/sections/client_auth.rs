//! The keys `client_…` of a `[[listener]]`: the certificates of devices.

use std::path::PathBuf;

use fedecks_cloud::auth::{CertificateName, CertificateRules};
use fedecks_cloud::serve::ClientAuth;

/// Whether a client has to present a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientCert {
    Optional,
    Required,
}

/// Which of its names is the device id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientId {
    Cn,
    Dns,
    Uri,
}

/// What an expired revocation list means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExpiredCrl {
    Refuse,
    Accept,
}

/// The keys as they are in the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClientKeys {
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<ClientCert>,
    pub(super) id: Option<ClientId>,
    pub(super) register: Option<bool>,
    pub(super) replaces_token: Option<bool>,
    pub(super) crl: Option<Vec<PathBuf>>,
    pub(super) crl_expired: Option<ExpiredCrl>,
}

/// The certificates of devices at a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientCertificates {
    /// What TLS verifies.
    pub(crate) auth: ClientAuth,
    /// What it means for a device.
    pub(crate) rules: CertificateRules,
}

impl ClientKeys {
    /// `None` if no key is set.
    pub(super) fn check(
        self,
        has_tls: bool,
        serves_devices: bool,
    ) -> Result<Option<ClientCertificates>, String> {
        let Self { ca, cert, id, register, replaces_token, crl, crl_expired } = self;
        let set = [
            ("client_cert", cert.is_some()),
            ("client_id", id.is_some()),
            ("client_register", register.is_some()),
            ("client_replaces_token", replaces_token.is_some()),
            ("client_crl", crl.is_some()),
            ("client_crl_expired", crl_expired.is_some()),
        ];
        let Some(ca) = ca else {
            let Some((key, _)) = set.into_iter().find(|(_, is_set)| *is_set) else {
                return Ok(None);
            };
            return Err(format!(
                "{key} is set but client_ca is not; name the PEM file of the authority of your devices' certificates"
            ));
        };
        if !has_tls {
            return Err(
                "client_ca is set, but the listener has no TLS; set certificate and key".into()
            );
        }
        let for_devices =
            [("client_register", register), ("client_replaces_token", replaces_token)];
        if let Some((key, _)) =
            for_devices.into_iter().find(|(_, value)| !serves_devices && *value == Some(true))
        {
            return Err(format!("{key} is true, but serves does not contain \"devices\""));
        }
        let crls = crl.unwrap_or_default();
        if crls.is_empty() && crl_expired.is_some() {
            return Err("client_crl_expired is set but client_crl is not".into());
        }
        let auth = ClientAuth::new(ca).with(|it| {
            it.required = cert == Some(ClientCert::Required);
            it.accept_expired_crls = crl_expired == Some(ExpiredCrl::Accept);
            it.crls = crls;
        });
        let rules = CertificateRules::default().with(|it| {
            it.name = match id.unwrap_or(ClientId::Cn) {
                ClientId::Cn => CertificateName::CommonName,
                ClientId::Dns => CertificateName::Dns,
                ClientId::Uri => CertificateName::Uri,
            };
            it.register = register.unwrap_or(false);
            it.replaces_token = replaces_token.unwrap_or(false);
        });
        Ok(Some(ClientCertificates { auth, rules }))
    }
}

impl ClientCertificates {
    /// The value of `client_id`.
    pub(crate) fn id(&self) -> &'static str {
        match self.rules.name {
            CertificateName::Dns => "dns",
            CertificateName::Uri => "uri",
            _ => "cn",
        }
    }

    /// What is dangerous about it.
    pub(crate) fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if self.auth.crls.is_empty() {
            warnings.push(
                "client_ca is set without client_crl: a certificate that its authority has revoked is accepted until it \
                 expires, unless its device is revoked or blocked here",
            );
        }
        if self.auth.accept_expired_crls {
            warnings.push(
                "client_crl_expired is \"accept\": if no new revocation list arrives, what was revoked since then is \
                 accepted",
            );
        }
        if self.rules.register && !self.auth.required {
            warnings.push(
                "client_register is true but client_cert is \"optional\": accounts and claims register devices too, not \
                 only certificates; set \"required\" so that no device comes without one",
            );
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> ClientKeys {
        ClientKeys { ca: Some("/ca.pem".into()), ..ClientKeys::default() }
    }

    #[test]
    fn what_is_not_set_is_the_strict_choice() {
        let checked = keys().check(true, true).unwrap().unwrap();
        assert_eq!(checked.auth, ClientAuth::new("/ca.pem"));
        assert_eq!(checked.rules, CertificateRules::default());
        assert_eq!(checked.id(), "cn");
        assert_eq!(ClientKeys::default().check(false, false), Ok(None));
    }

    #[test]
    fn each_key_is_read_and_what_is_dangerous_is_named() {
        let set = ClientKeys {
            cert: Some(ClientCert::Required),
            id: Some(ClientId::Uri),
            register: Some(true),
            replaces_token: Some(true),
            crl: Some(vec!["/crl.pem".into()]),
            crl_expired: Some(ExpiredCrl::Accept),
            ..keys()
        };
        let checked = set.check(true, true).unwrap().unwrap();
        assert!(checked.auth.required && checked.auth.accept_expired_crls);
        assert_eq!(checked.auth.crls, [PathBuf::from("/crl.pem")]);
        assert!(checked.rules.register && checked.rules.replaces_token);
        assert_eq!(checked.id(), "uri");
        let [expired] = &*checked.warnings() else { panic!("{:?}", checked.warnings()) };
        assert!(expired.contains("what was revoked since then is accepted"), "{expired}");
        let optional = ClientKeys { register: Some(true), ..keys() };
        let warnings = optional.check(true, true).unwrap().unwrap().warnings();
        assert!(warnings[0].contains("without client_crl"), "{warnings:?}");
        assert!(warnings[1].contains("accounts and claims register devices"), "{warnings:?}");
    }
}
