//! Registers devices whose proof is right, and tells an observer of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fedecks_protocol::{DeviceId, Refusal};
use fedecks_store::{
    ClaimStore, RegisteredBy, Registration, RegistrationOutcome, RegistrationRefusal,
    RegistrationRequest, RegistrationStore,
};

use crate::handler::Decision;

/// Learns how logins with accounts and claims end, for logs and metrics. Must not block.
pub trait RegistrationObserver: Send + Sync + 'static {
    /// A device was registered. It has `returned` if its id had been registered or seen before; then its earlier tokens
    /// are revoked.
    fn on_registered(&self, device: &DeviceId, registration: &Registration, returned: bool) {
        let _ = (device, registration, returned);
    }

    /// A login was refused. What it presented exists, and except for an account, is right.
    /// [`Handler::on_refused`](crate::Handler::on_refused) follows.
    fn on_refused(&self, device: &DeviceId, by: &RegisteredBy, refusal: Refusal) {
        let _ = (device, by, refusal);
    }
}

/// Registers devices in a store.
pub(super) struct Registrar {
    pub(super) claims: Arc<dyn ClaimStore>,
    registrations: Arc<dyn RegistrationStore>,
    may_reregister: bool,
    observer: Option<Arc<dyn RegistrationObserver>>,
}

/// When a device should retry if the store fails, or its password cannot be checked.
const RETRY_AFTER: Duration = Duration::from_secs(10);

pub(super) const UNAVAILABLE: Decision = Decision::Unavailable { retry_after: RETRY_AFTER };

/// When a device should ask again whether it was approved, or whether its id is still in use.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);

impl Registrar {
    pub(super) fn new(
        claims: Arc<dyn ClaimStore>,
        registrations: Arc<dyn RegistrationStore>,
    ) -> Self {
        Self { claims, registrations, may_reregister: false, observer: None }
    }

    pub(super) fn may_reregister(&mut self, allowed: bool) {
        self.may_reregister = allowed;
    }

    pub(super) fn observer(&mut self, observer: Arc<dyn RegistrationObserver>) {
        self.observer = Some(observer);
    }

    /// Registers a device that presents `by`, if it may be.
    pub(super) async fn register(
        &self,
        mut request: RegistrationRequest,
        by: &RegisteredBy,
    ) -> Decision {
        request.may_reregister = self.may_reregister;
        let device = &request.device;
        let outcome = match self.registrations.register(&request).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(%device, %by, %error, "cannot register the device in the store");
                return UNAVAILABLE;
            }
        };
        match outcome {
            RegistrationOutcome::Registered { registration, returned, generation } => {
                tracing::info!(%device, %by, returned, "registered a device");
                if let Some(observer) = &self.observer {
                    observer.on_registered(device, &registration, returned);
                }
                Decision::AcceptAt { generation }
            }
            RegistrationOutcome::Repeated { generation, .. } => {
                tracing::info!(%device, %by, "repeated a registration whose answer was lost");
                Decision::AcceptAt { generation }
            }
            RegistrationOutcome::Refused(refusal) => {
                let decision = decision(refusal);
                self.refused(device, by, refused_with(refusal), refusal.as_str());
                decision
            }
        }
    }

    /// Logs a refused login with who it was, and tells the observer.
    pub(super) fn refused(
        &self,
        device: &DeviceId,
        by: &RegisteredBy,
        refusal: Refusal,
        reason: &str,
    ) {
        tracing::info!(%device, %by, reason, "refused a login");
        if let Some(observer) = &self.observer {
            observer.on_refused(device, by, refusal);
        }
    }
}

/// The refusal that a device gets.
fn refused_with(refusal: RegistrationRefusal) -> Refusal {
    match refusal {
        RegistrationRefusal::UnknownClaim | RegistrationRefusal::ApprovalRejected => {
            Refusal::BadCredentials
        }
        RegistrationRefusal::ClaimExpired => Refusal::ClaimExpired,
        RegistrationRefusal::ClaimUsedUp => Refusal::ClaimUsedUp,
        RegistrationRefusal::ClaimRevoked => Refusal::ClaimRevoked,
        RegistrationRefusal::ClaimMismatch => Refusal::ClaimMismatch,
        RegistrationRefusal::Blocked => Refusal::Blocked,
        RegistrationRefusal::IdTaken => Refusal::IdTaken,
        RegistrationRefusal::InUse => Refusal::InUse,
        RegistrationRefusal::ApprovalPending => Refusal::ApprovalPending,
        RegistrationRefusal::ReturnTooSoon { .. } => Refusal::RateLimited,
        RegistrationRefusal::KeyRefused => Refusal::CertificateRefused,
    }
}

fn decision(refusal: RegistrationRefusal) -> Decision {
    let retry_after = match refusal {
        RegistrationRefusal::InUse | RegistrationRefusal::ApprovalPending => Some(ASK_AGAIN_AFTER),
        RegistrationRefusal::ReturnTooSoon { retry_after } => Some(retry_after),
        RegistrationRefusal::UnknownClaim
        | RegistrationRefusal::ClaimExpired
        | RegistrationRefusal::ClaimUsedUp
        | RegistrationRefusal::ClaimRevoked
        | RegistrationRefusal::ClaimMismatch
        | RegistrationRefusal::Blocked
        | RegistrationRefusal::IdTaken
        | RegistrationRefusal::ApprovalRejected
        | RegistrationRefusal::KeyRefused => None,
    };
    Decision::Refuse { refusal: refused_with(refusal), retry_after }
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar")
            .field("may_reregister", &self.may_reregister)
            .finish_non_exhaustive()
    }
}
