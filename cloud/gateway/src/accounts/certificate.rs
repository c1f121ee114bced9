//! Logs devices in by their client certificate alone, and keeps the key of each device's certificate.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use fedecks_protocol::{DeviceId, Refusal};
use fedecks_store::{
    Actor, DeviceStore, RegisteredBy, RegistrationRequest, RegistrationStore, StoreError,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::registration::{Registrar, UNAVAILABLE};
use crate::auth::CertificateRules;
use crate::handler::Decision;
use crate::session::Session;

/// Logs devices in by certificates.
pub(super) struct CertificateLogins {
    devices: Arc<dyn DeviceStore>,
    registrations: Arc<dyn RegistrationStore>,
    /// Devices with the key that the store has of them, as hashes: few of them change.
    kept: Mutex<HashSet<u64>>,
    hasher: RandomState,
    looking: Semaphore,
}

/// How many devices are remembered whose key is kept.
const REMEMBERED: usize = 100_000;

/// How many devices are looked up at a time. Others are when they connect again.
const LOOK_UPS: usize = 4;

impl CertificateLogins {
    pub(super) fn new(
        devices: Arc<dyn DeviceStore>,
        registrations: Arc<dyn RegistrationStore>,
    ) -> Self {
        Self {
            devices,
            registrations,
            kept: Mutex::default(),
            hasher: RandomState::new(),
            looking: Semaphore::new(LOOK_UPS),
        }
    }

    /// Judges a certificate with this key, which is in the name of the device.
    pub(super) async fn judge(
        &self,
        registrar: &Registrar,
        request: RegistrationRequest,
        key: [u8; 32],
        rules: CertificateRules,
    ) -> Decision {
        let (device, by) = (&request.device, RegisteredBy::Certificate { key });
        let known = match self.devices.device(device).await {
            Ok(known) => known,
            Err(error) => {
                tracing::error!(%device, %error, "cannot read the device from the store");
                return UNAVAILABLE;
            }
        };
        if let Some(known) = &known {
            let is_its = known.certificate_key == Some(key) && !known.certificate_refused;
            if rules.replaces_token && is_its {
                return Decision::Accept;
            }
        }
        let exists =
            known.is_some_and(|known| known.registration.is_some() || known.first_seen.is_some());
        if !exists && !rules.register {
            registrar.refused(device, &by, Refusal::CertificateRefused, "unknown-device");
            return Decision::Refuse { refusal: Refusal::CertificateRefused, retry_after: None };
        }
        registrar.register(request, &by).await
    }

    /// Keeps the key of the device's certificate, if it has one: then it may return by that, and revoking the device
    /// refuses it.
    pub(super) fn keep(self: Arc<Self>, session: &Session) {
        let Some(key) = session.certificate_key() else { return };
        let device = session.device().clone();
        let id = self.hasher.hash_one((&device, key));
        if self.kept.lock().contains(&id) {
            return;
        }
        let generation = session.connection_handle().generation;
        let looked_up = async move {
            let Ok(_permit) = self.looking.try_acquire() else { return };
            match self.look_up(&device, key, generation).await {
                Ok(true) => self.remember(id),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%device, %error, "cannot keep the key of the device's certificate");
                }
            }
        };
        tokio::spawn(looked_up.in_current_span());
    }

    /// Returns whether the store has the key of the device now.
    async fn look_up(
        &self,
        device: &DeviceId,
        key: [u8; 32],
        generation: u64,
    ) -> Result<bool, StoreError> {
        let Some(known) = self.devices.device(device).await? else { return Ok(false) };
        if known.certificate_key == Some(key) {
            return Ok(true);
        }
        // A device that was revoked in the meantime is about to be disconnected.
        if known.generation > generation {
            return Ok(false);
        }
        let by = Actor::registrant(&RegisteredBy::Certificate { key });
        self.registrations.set_certificate_key(device, key, &by).await
    }

    fn remember(&self, id: u64) {
        let mut kept = self.kept.lock();
        if kept.len() >= REMEMBERED {
            kept.clear();
        }
        kept.insert(id);
    }
}

impl fmt::Debug for CertificateLogins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateLogins").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fedecks_edge::ClientCertificate;
    use fedecks_protocol::Credentials;
    use fedecks_store::SqliteStore;

    use super::*;
    use crate::accounts::AccountHandler;
    use crate::auth::CertificateLogin;
    use crate::handler::{Handler, Login};

    /// Logs the device `a` in by a certificate alone.
    async fn decide(handler: &AccountHandler, key: [u8; 32], rules: CertificateRules) -> Decision {
        let certificate = &ClientCertificate::new(key);
        let certificate = Some(CertificateLogin { certificate, rules });
        let (device, credentials) = (&DeviceId::new("a").unwrap(), &Credentials::new());
        let login =
            Login { device, credentials, peer: None, certificate, in_use: false, at: 1_000_000 };
        handler.authenticate(login).await
    }

    #[tokio::test]
    async fn a_certificate_alone_is_judged_by_the_rules_and_its_key() {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let handler = AccountHandler::new(store.clone());
        let rules = |register, replaces_token| {
            CertificateRules::default()
                .with(|it| (it.register, it.replaces_token) = (register, replaces_token))
        };
        let refused = |refusal| Decision::Refuse { refusal, retry_after: None };
        let (ours, other) = ([1; 32], [2; 32]);
        let certificate_refused = refused(Refusal::CertificateRefused);
        for (key, rules, expected) in [
            (ours, rules(false, false), Decision::Reject),
            (ours, rules(false, true), certificate_refused),
            (ours, rules(true, false), Decision::AcceptAt { generation: 0 }),
            (ours, rules(false, true), Decision::Accept),
            (ours, rules(true, true), Decision::Accept),
            (other, rules(false, true), refused(Refusal::IdTaken)),
            (other, rules(true, true), refused(Refusal::IdTaken)),
        ] {
            assert_eq!(decide(&handler, key, rules).await, expected, "{key:?} {rules:?}");
        }
        let device = DeviceId::new("a").unwrap();
        store.revoke(&device, &Actor::cli()).await.unwrap();
        assert_eq!(decide(&handler, ours, rules(true, true)).await, certificate_refused);
        store.forget(&device, &Actor::cli()).await.unwrap();
        assert_eq!(decide(&handler, ours, rules(true, true)).await, certificate_refused);
        let decided = decide(&handler, other, rules(true, true)).await;
        assert!(matches!(decided, Decision::AcceptAt { .. }), "{decided:?}");
    }
}
