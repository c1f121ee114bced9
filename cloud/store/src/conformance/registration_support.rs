//! What the tests of registrations share.

use super::support::{cli, device, until};
use crate::audit::{AuditAction, AuditQuery, AuditStore};
use crate::claims::{ClaimStore, NewClaim};
use crate::devices::DeviceStore;
use crate::registrations::{
    RETURN_INTERVAL_S, RegistrationNonce, RegistrationOutcome, RegistrationProof,
    RegistrationRefusal, RegistrationRequest, RegistrationStore,
};

/// A time at which these devices register.
pub(super) const NOON: u64 = 1_800_000_000;

pub(super) const HOUR: u64 = RETURN_INTERVAL_S;

pub(super) fn nonce(byte: u8) -> Option<RegistrationNonce> {
    Some(RegistrationNonce([byte; 16]))
}

pub(super) fn request(
    id: &str,
    proof: &RegistrationProof,
    by: Option<RegistrationNonce>,
) -> RegistrationRequest {
    RegistrationRequest {
        device: device(id),
        proof: proof.clone(),
        nonce: by,
        address: Some([192, 0, 2, 1].into()),
        at: NOON,
        in_use: false,
        may_reregister: false,
    }
}

pub(super) fn marvin() -> RegistrationProof {
    RegistrationProof::Account("marvin".to_owned())
}

/// The result of a registration, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    New,
    Returned,
    Repeated,
    Refused(RegistrationRefusal),
}

/// Registers, and checks that the store knows what it has answered.
pub(super) async fn became(
    store: &(impl RegistrationStore + DeviceStore),
    request: &RegistrationRequest,
) -> Became {
    // Not when it was seen: a note may be written meanwhile.
    let known = async || {
        let record = store.device(&request.device).await.unwrap();
        record.map_or((0, None), |record| (record.generation, record.registration))
    };
    let before = known().await;
    let outcome = store.register(request).await.unwrap();
    let after = known().await;
    match outcome {
        RegistrationOutcome::Registered { registration, returned, generation } => {
            assert_eq!((registration.at, registration.address), (request.at, request.address));
            assert_eq!(after, (generation, Some(registration)));
            assert!(!returned || generation > before.0, "earlier tokens are revoked");
            if returned { Became::Returned } else { Became::New }
        }
        RegistrationOutcome::Repeated { registration, generation } => {
            assert_eq!((&after, &after), (&before, &(generation, Some(registration))));
            Became::Repeated
        }
        RegistrationOutcome::Refused(refusal) => {
            assert_eq!(after, before);
            Became::Refused(refusal)
        }
    }
}

/// Adds a claim, and returns what proves it.
pub(super) async fn add(store: &impl ClaimStore, claim: &NewClaim) -> RegistrationProof {
    store.add_claims(std::slice::from_ref(claim), &cli()).await.unwrap();
    RegistrationProof::from(&claim.secret)
}

/// The uses and the returns that were counted.
pub(super) async fn counted(store: &impl ClaimStore, claim: &NewClaim) -> (u32, u32) {
    let claim = store.claim(claim.id).await.unwrap().unwrap();
    (claim.used, claim.returned)
}

/// Waits until the audit log has this many lines of an action; their details, the latest first.
pub(super) async fn audited(
    store: &impl AuditStore,
    action: AuditAction,
    count: usize,
) -> Vec<Option<String>> {
    until(async || {
        let all = store.audit_page(&AuditQuery::default()).await.unwrap();
        let found = all.into_iter().filter(|line| line.action == action);
        let details: Vec<_> = found.map(|line| line.detail).collect();
        (details.len() >= count).then_some(details)
    })
    .await
}
