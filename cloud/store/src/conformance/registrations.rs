//! The contract of registrations.

use std::time::Duration;

use super::claims::claim_for;
use super::decisions::decisions;
use super::registration_support::Became::{New, Refused, Repeated, Returned};
use super::registration_support::{
    HOUR, NOON, add, audited, became, counted, marvin, nonce, request,
};
use super::support::{cli, device};
use crate::audit::{AuditAction, AuditQuery, AuditStore};
use crate::claims::{ClaimStore, NewClaim};
use crate::devices::DeviceStore;
use crate::registrations::RegistrationRefusal::{
    Blocked, ClaimExpired, ClaimMismatch, ClaimRevoked, ClaimUsedUp, IdTaken, InUse, KeyRefused,
    ReturnTooSoon, UnknownClaim,
};
use crate::registrations::{
    REPETITION_S, RegisteredBy, Registration, RegistrationProof, RegistrationRequest,
    RegistrationStore,
};

/// Tests the contract of [`RegistrationStore`] on empty stores, which `open` creates.
pub async fn registrations<S>(open: impl AsyncFn() -> S)
where
    S: RegistrationStore + ClaimStore + DeviceStore + AuditStore,
{
    a_claim_registers_as_many_devices_as_it_has_uses(&open().await).await;
    an_answer_that_was_lost_costs_nothing(&open().await).await;
    what_several_devices_know_takes_no_id(&open().await).await;
    a_bad_claim_is_refused_with_its_reason(&open().await).await;
    one_device_returns_by_its_own_claim(&open().await).await;
    accounts_without_a_nonce_repeat_for_a_day(&open().await).await;
    a_certificate_registers_and_stays_refused(&open().await).await;
    decisions(open).await;
}

async fn a_claim_registers_as_many_devices_as_it_has_uses<S>(store: &S)
where
    S: RegistrationStore + ClaimStore + DeviceStore + AuditStore,
{
    let claim = NewClaim { uses: 2, label: Some("Pump".to_owned()), ..claim_for("pump-*") };
    let proof = add(store, &claim).await;
    assert_eq!(became(store, &request("pump-1", &proof, nonce(1))).await, New);
    assert_eq!(became(store, &request("pump-2", &proof, nonce(2))).await, New);
    let third = request("pump-3", &proof, nonce(3));
    assert_eq!(became(store, &third).await, Refused(ClaimUsedUp));
    assert_eq!(counted(store, &claim).await, (2, 0));
    let record = store.device(&device("pump-1")).await.unwrap().unwrap();
    assert_eq!(record.label.as_deref(), Some("Pump"));
    let by = RegisteredBy::Claim(claim.id);
    let address = Some([192, 0, 2, 1].into());
    assert_eq!(record.registration, Some(Registration { by, at: NOON, address }));
    assert_eq!(record.first_seen, None);

    let uses = store.claim_uses(claim.id, None, 10).await.unwrap();
    let all: Vec<_> = uses.iter().map(|one| (one.device.as_str(), one.at, one.returned)).collect();
    assert_eq!(all, [("pump-2", NOON, false), ("pump-1", NOON, false)]);
    assert_eq!(uses[0].address, address);
    let earlier = store.claim_uses(claim.id, Some(uses[0].number), 10).await.unwrap();
    assert_eq!(earlier, uses[1..]);
    assert_eq!(store.claim_uses(claim.id, None, 1).await.unwrap(), uses[..1]);

    assert_eq!(audited(store, AuditAction::Registered, 2).await, [None, None]);
    let refused = audited(store, AuditAction::RegistrationRefused, 1).await;
    assert_eq!(refused, [Some("claim-used-up".to_owned())]);
    let all = store.audit_page(&AuditQuery::default()).await.unwrap();
    let line = all.iter().find(|line| line.action == AuditAction::Registered).unwrap();
    assert_eq!((&line.by, line.address), (&format!("claim:{}", claim.id), address));
    assert!(all.iter().any(|line| line.action == AuditAction::ClaimsAdded));
}

async fn an_answer_that_was_lost_costs_nothing<S>(store: &S)
where
    S: RegistrationStore + ClaimStore + DeviceStore,
{
    let claim = NewClaim { uses: 2, expires_at: Some(NOON + 60), ..claim_for("pump-*") };
    let proof = add(store, &claim).await;
    let first = request("pump-1", &proof, nonce(1));
    assert_eq!(became(store, &first).await, New);
    let again = |after| RegistrationRequest { at: NOON + after, ..first.clone() };
    assert_eq!(became(store, &again(1)).await, Repeated);
    assert_eq!(became(store, &again(REPETITION_S - 1)).await, Repeated, "used before it expired");
    assert_eq!(became(store, &again(REPETITION_S)).await, Refused(ClaimExpired));
    assert_eq!(became(store, &RegistrationRequest { in_use: true, ..again(1) }).await, Repeated);
    let others = [
        request("pump-1", &proof, nonce(2)),
        request("pump-1", &proof, None),
        request("pump-1", &marvin(), nonce(1)),
    ];
    for other in others {
        assert_eq!(became(store, &other).await, Refused(IdTaken), "{other:?}");
    }
    assert_eq!(became(store, &request("pump-2", &proof, nonce(1))).await, New, "another use");
    assert_eq!(counted(store, &claim).await, (2, 0));

    // Credentials prove nothing about what it has stored.
    store.seen(&device("pump-1"), 0, NOON, false);
    assert_eq!(became(store, &again(2)).await, Repeated);
    store.seen(&device("pump-1"), 0, NOON, true);
    assert_eq!(became(store, &again(2)).await, Refused(IdTaken), "it has stored its token");
    store.revoke(&device("pump-2"), &cli()).await.unwrap();
    let second = request("pump-2", &proof, nonce(1));
    assert_eq!(became(store, &second).await, Refused(IdTaken), "it was revoked");
    // A late note about a session of before.
    let own = add(store, &claim_for("valve")).await;
    assert_eq!(became(store, &request("valve", &own, nonce(1))).await, New);
    assert_eq!(became(store, &request("valve", &own, nonce(2))).await, Returned);
    store.seen(&device("valve"), 0, NOON, true);
    assert_eq!(became(store, &request("valve", &own, nonce(2))).await, Repeated);
}

async fn what_several_devices_know_takes_no_id<S>(store: &S)
where
    S: RegistrationStore + ClaimStore + DeviceStore + AuditStore,
{
    let proof = add(store, &NewClaim { uses: 9, ..claim_for("*") }).await;
    // One that was only seen, and one that was registered.
    store.seen(&device("seen"), 0, NOON, true);
    assert_eq!(became(store, &request("registered", &marvin(), nonce(1))).await, New);
    for id in ["seen", "registered"] {
        for proof in [&proof, &marvin(), &RegistrationProof::Account("arthur".to_owned())] {
            let taken = became(store, &request(id, proof, nonce(7))).await;
            assert_eq!(taken, Refused(IdTaken), "{id} by {proof:?}");
        }
    }
    let refused = audited(store, AuditAction::RegistrationRefused, 6).await;
    assert!(refused.iter().all(|detail| detail.as_deref() == Some("id-taken")), "{refused:?}");
    // Asked again, they are not audited again within the hour.
    assert_eq!(became(store, &request("seen", &marvin(), nonce(7))).await, Refused(IdTaken));
    let later = RegistrationRequest { at: NOON + HOUR, ..request("seen", &marvin(), nonce(7)) };
    assert_eq!(became(store, &later).await, Refused(IdTaken));
    assert_eq!(audited(store, AuditAction::RegistrationRefused, 7).await.len(), 7);
    // One that was revoked or blocked beforehand is new.
    store.revoke(&device("unborn"), &cli()).await.unwrap();
    assert_eq!(became(store, &request("unborn", &proof, nonce(1))).await, New);
    store.block(&device("blocked"), &cli()).await.unwrap();
    assert_eq!(became(store, &request("blocked", &proof, nonce(1))).await, Refused(Blocked));
    let trial = RegistrationRequest {
        may_reregister: true,
        in_use: true,
        ..request("registered", &marvin(), nonce(7))
    };
    assert_eq!(became(store, &trial).await, Returned);
    store.forget(&device("registered"), &cli()).await.unwrap();
    assert_eq!(became(store, &request("registered", &proof, nonce(1))).await, New);
}

async fn a_bad_claim_is_refused_with_its_reason<S>(store: &S)
where
    S: RegistrationStore + ClaimStore + DeviceStore + AuditStore,
{
    let unknown = RegistrationProof::from(&claim_for("*").secret);
    assert_eq!(became(store, &request("a", &unknown, nonce(1))).await, Refused(UnknownClaim));
    let expired = add(store, &NewClaim { expires_at: Some(NOON), ..claim_for("*") }).await;
    assert_eq!(became(store, &request("a", &expired, nonce(1))).await, Refused(ClaimExpired));
    let in_time = RegistrationRequest { at: NOON - 1, ..request("b", &expired, nonce(1)) };
    assert_eq!(became(store, &in_time).await, New);
    let claim = claim_for("pump-*");
    let proof = add(store, &claim).await;
    assert_eq!(became(store, &request("a", &proof, nonce(1))).await, Refused(ClaimMismatch));
    assert!(store.revoke_claim(claim.id, &cli()).await.unwrap());
    let revoked = became(store, &request("pump-1", &proof, nonce(1))).await;
    assert_eq!(revoked, Refused(ClaimRevoked));
    let refused = audited(store, AuditAction::RegistrationRefused, 3).await;
    let reasons: Vec<_> = refused.iter().flatten().map(String::as_str).collect();
    assert_eq!(reasons, ["claim-revoked", "claim-mismatch", "claim-expired"], "no unknown ones");
}

async fn one_device_returns_by_its_own_claim<S>(store: &S)
where
    S: RegistrationStore + ClaimStore + DeviceStore + AuditStore,
{
    let claim = NewClaim { returns: 2, ..claim_for("pump-1") };
    let proof = add(store, &claim).await;
    let at = |hours: u64, byte| RegistrationRequest {
        at: NOON + hours * HOUR,
        ..request("pump-1", &proof, nonce(byte))
    };
    assert_eq!(became(store, &at(0, 1)).await, New);
    let in_use = RegistrationRequest { in_use: true, ..at(0, 2) };
    assert_eq!(became(store, &in_use).await, Refused(InUse));
    assert_eq!(became(store, &at(0, 2)).await, Returned);
    let soon = RegistrationRequest { at: NOON + 60, ..at(0, 3) };
    let retry_after = Duration::from_secs(HOUR - 60);
    assert_eq!(became(store, &soon).await, Refused(ReturnTooSoon { retry_after }));
    assert_eq!(counted(store, &claim).await, (1, 1));
    assert_eq!(became(store, &at(1, 3)).await, Returned);
    assert_eq!(became(store, &at(9, 4)).await, Refused(ClaimUsedUp));
    assert_eq!(counted(store, &claim).await, (1, 2));
    assert_eq!(audited(store, AuditAction::Returned, 2).await.len(), 2);
    let uses = store.claim_uses(claim.id, None, 10).await.unwrap();
    let returned: Vec<_> = uses.iter().map(|one| one.returned).collect();
    assert_eq!(returned, [true, true, false]);
    // One that may not return, and one for a device that an account has registered.
    let strict = add(store, &NewClaim { returns: 0, ..claim_for("pump-2") }).await;
    assert_eq!(became(store, &request("pump-2", &strict, nonce(1))).await, New);
    let again = became(store, &request("pump-2", &strict, nonce(2))).await;
    assert_eq!(again, Refused(ClaimUsedUp));
    assert_eq!(became(store, &request("pump-3", &marvin(), nonce(1))).await, New);
    let own = add(store, &claim_for("pump-3")).await;
    assert_eq!(became(store, &request("pump-3", &own, nonce(2))).await, Returned);
}

async fn accounts_without_a_nonce_repeat_for_a_day<S>(store: &S)
where
    S: RegistrationStore + DeviceStore,
{
    let old = request("old", &marvin(), None);
    let at = |after| RegistrationRequest { at: NOON + after, ..old.clone() };
    assert_eq!(became(store, &old).await, New);
    assert_eq!(became(store, &at(60)).await, Repeated);
    assert_eq!(became(store, &at(REPETITION_S)).await, Refused(IdTaken));
    let other = request("old", &RegistrationProof::Account("arthur".to_owned()), None);
    assert_eq!(became(store, &other).await, Refused(IdTaken));
    store.seen(&device("old"), 0, NOON, true);
    assert_eq!(became(store, &at(60)).await, Refused(IdTaken), "it has its token");
    // One that has a nonce is not taken without it.
    assert_eq!(became(store, &request("new", &marvin(), nonce(1))).await, New);
    assert_eq!(became(store, &request("new", &marvin(), None)).await, Refused(IdTaken));
}

async fn a_certificate_registers_and_stays_refused<S>(store: &S)
where
    S: RegistrationStore + DeviceStore,
{
    let certificate = |byte| RegistrationProof::Certificate { key: [byte; 32] };
    let (own, other) = (certificate(1), certificate(2));
    let at = |hours: u64, proof: &RegistrationProof, byte| RegistrationRequest {
        at: NOON + hours * HOUR,
        ..request("pump-1", proof, nonce(byte))
    };
    let pump = device("pump-1");
    assert!(!store.set_certificate_key(&pump, [1; 32], &cli()).await.unwrap());
    assert_eq!(became(store, &at(0, &own, 1)).await, New);
    let record = store.device(&pump).await.unwrap().unwrap();
    assert_eq!((record.certificate_key, record.certificate_refused), (Some([1; 32]), false));
    assert_eq!(became(store, &at(0, &own, 1)).await, Repeated);
    assert_eq!(became(store, &at(0, &other, 1)).await, Refused(IdTaken), "another key");
    assert_eq!(became(store, &at(0, &own, 2)).await, Returned);
    let retry_after = Duration::from_secs(HOUR);
    assert_eq!(became(store, &at(0, &own, 3)).await, Refused(ReturnTooSoon { retry_after }));
    assert!(store.set_certificate_key(&pump, [2; 32], &cli()).await.unwrap());
    assert_eq!(became(store, &at(2, &own, 3)).await, Refused(IdTaken), "it was renewed");
    assert_eq!(became(store, &at(2, &other, 3)).await, Returned);
    store.revoke(&pump, &cli()).await.unwrap();
    assert!(store.device(&pump).await.unwrap().unwrap().certificate_refused);
    assert_eq!(became(store, &at(9, &other, 3)).await, Refused(KeyRefused));
    store.forget(&pump, &cli()).await.unwrap();
    assert_eq!(became(store, &at(9, &other, 4)).await, Refused(KeyRefused), "also forgotten");
    assert_eq!(became(store, &at(9, &own, 4)).await, New, "a new key");
    let record = store.device(&pump).await.unwrap().unwrap();
    assert_eq!((record.certificate_key, record.certificate_refused), (Some([1; 32]), false));
}
