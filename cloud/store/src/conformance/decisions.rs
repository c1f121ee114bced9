//! The contract of registrations as far as operators decide about them.

use super::claims::claim_for;
use super::registration_support::Became::{New, Refused, Repeated, Returned};
use super::registration_support::{NOON, add, audited, became, counted, marvin, nonce, request};
use super::support::{cli, device};
use crate::audit::{AuditAction, AuditStore};
use crate::claims::{ClaimStore, NewClaim};
use crate::devices::DeviceStore;
use crate::registrations::RegistrationRefusal::{
    ApprovalPending, ApprovalRejected, IdTaken, InUse,
};
use crate::registrations::{
    Approval, REPETITION_S, RegisteredBy, RegistrationRequest, RegistrationStore, RevokeFilter,
};
use crate::time::unix_now;

/// Tests what operators allow, approve and revoke, on empty stores.
pub(super) async fn decisions<S>(open: impl AsyncFn() -> S)
where
    S: RegistrationStore + ClaimStore + DeviceStore + AuditStore,
{
    an_operator_allows_it_once(&open().await).await;
    an_operator_approves_or_rejects(&open().await).await;
    devices_are_revoked_by_what_let_them_in(&open().await).await;
}

async fn an_operator_allows_it_once<S>(store: &S)
where
    S: RegistrationStore + ClaimStore + DeviceStore + AuditStore,
{
    let claim = claim_for("pump-*");
    let proof = add(store, &claim).await;
    let pump = device("pump-1");
    let allow = async |until| store.allow_reregistration(&pump, until, &cli()).await.unwrap();
    assert!(!allow(NOON + 60).await, "unknown");
    assert_eq!(became(store, &request("pump-1", &proof, nonce(1))).await, New);
    assert!(allow(NOON + 60).await);
    let record = store.device(&pump).await.unwrap().unwrap();
    assert_eq!(record.reregistration_allowed_until, Some(NOON + 60));
    let again = request("pump-1", &proof, nonce(2));
    let late = RegistrationRequest { at: NOON + 60, ..again.clone() };
    assert_eq!(became(store, &late).await, Refused(IdTaken));
    let in_use = RegistrationRequest { in_use: true, ..again.clone() };
    assert_eq!(became(store, &in_use).await, Refused(InUse));
    assert_eq!(became(store, &again).await, Returned, "although the claim is used up");
    assert_eq!(counted(store, &claim).await, (1, 0));
    assert_eq!(became(store, &request("pump-1", &proof, nonce(3))).await, Refused(IdTaken));
    assert!(allow(NOON + 60).await);
    store.revoke(&pump, &cli()).await.unwrap();
    assert_eq!(became(store, &request("pump-1", &proof, nonce(3))).await, Refused(IdTaken));
    assert_eq!(audited(store, AuditAction::ReregistrationAllowed, 2).await.len(), 2);
}

async fn an_operator_approves_or_rejects<S>(store: &S)
where
    S: RegistrationStore + ClaimStore + DeviceStore + AuditStore,
{
    let claim = NewClaim { approval: true, uses: 9, ..claim_for("*") };
    let proof = add(store, &claim).await;
    // What was decided has the time of the decision.
    let now = unix_now();
    let at = |id: &str, byte, after| RegistrationRequest {
        at: now + after,
        ..request(id, &proof, nonce(byte))
    };
    let (a, b) = (device("a"), device("b"));
    assert!(!store.approve(&a, &cli()).await.unwrap());
    for request in [at("a", 1, 0), at("b", 1, 5), at("a", 1, 100)] {
        assert_eq!(became(store, &request).await, Refused(ApprovalPending));
    }
    assert_eq!(counted(store, &claim).await, (0, 0));
    let page = store.approvals_page(None, 10).await.unwrap();
    let address = Some([192, 0, 2, 1].into());
    let waiting = |device, since, asked_at| Approval {
        device,
        claim: claim.id,
        since: now + since,
        asked_at: now + asked_at,
        address,
    };
    assert_eq!(page, [waiting(a.clone(), 0, 100), waiting(b.clone(), 5, 5)]);
    assert_eq!(store.approvals_page(Some(&a), 10).await.unwrap(), page[1..]);
    assert_eq!(store.approvals_page(None, 1).await.unwrap(), page[..1]);

    assert_eq!(became(store, &at("a", 2, 100)).await, Refused(ApprovalPending), "another board");
    assert!(store.approve(&a, &cli()).await.unwrap());
    assert!(!store.approve(&a, &cli()).await.unwrap(), "nothing waits");
    assert_eq!(became(store, &at("a", 2, 1)).await, Refused(ApprovalPending), "not this board");
    assert_eq!(became(store, &at("a", 1, 1)).await, New);
    assert_eq!(became(store, &at("a", 1, 2)).await, Repeated);
    assert_eq!(became(store, &at("a", 2, 2)).await, Refused(IdTaken));
    assert_eq!(counted(store, &claim).await, (1, 0));

    assert!(store.reject(&b, &cli()).await.unwrap());
    assert!(!store.reject(&b, &cli()).await.unwrap());
    for byte in [1, 2] {
        assert_eq!(became(store, &at("b", byte, 3)).await, Refused(ApprovalRejected));
    }
    assert_eq!(store.approvals_page(None, 10).await.unwrap(), []);
    let next_day = at("b", 1, REPETITION_S + 60);
    assert_eq!(became(store, &next_day).await, Refused(ApprovalPending), "asks again");
    // A board that was wiped meanwhile replaces its earlier self.
    let silent = Approval::SILENT_S;
    assert_eq!(became(store, &at("c", 1, 0)).await, Refused(ApprovalPending));
    assert_eq!(became(store, &at("c", 2, silent)).await, Refused(ApprovalPending));
    assert!(store.approve(&device("c"), &cli()).await.unwrap());
    assert_eq!(became(store, &at("c", 2, silent)).await, New);
    assert_eq!(audited(store, AuditAction::RegistrationApproved, 2).await.len(), 2);
    assert_eq!(audited(store, AuditAction::RegistrationRejected, 1).await.len(), 1);
}

async fn devices_are_revoked_by_what_let_them_in<S>(store: &S)
where
    S: RegistrationStore + ClaimStore + DeviceStore + AuditStore,
{
    let claim = NewClaim { uses: 1000, ..claim_for("*") };
    let proof = add(store, &claim).await;
    let ids: Vec<_> = (100..400).map(|number| format!("pump-{number}")).collect();
    for id in &ids {
        assert_eq!(became(store, &request(id, &proof, nonce(1))).await, New);
    }
    for id in ["pump-own", "valve"] {
        assert_eq!(became(store, &request(id, &marvin(), nonce(1))).await, New);
    }
    let revoke = async |by: Option<RegisteredBy>, devices: Option<&str>, dry_run| {
        let devices = devices.map(|pattern| pattern.parse().unwrap());
        store.revoke_matching(&RevokeFilter { by, devices }, dry_run, &cli()).await.unwrap()
    };
    let by_claim = Some(RegisteredBy::Claim(claim.id));
    let by_account = Some(RegisteredBy::Account("marvin".to_owned()));
    for (by, devices, count) in [
        (by_claim.clone(), None, 300),
        (by_claim.clone(), Some("pump-10*"), 10),
        (by_claim.clone(), Some("valve"), 0),
        (by_account.clone(), None, 2),
        (None, Some("pump-*"), 301),
        (None, None, 302),
        (Some(RegisteredBy::Account("arthur".to_owned())), None, 0),
    ] {
        let found = revoke(by.clone(), devices, true).await;
        assert_eq!(found.count, count, "{by:?} {devices:?}");
        assert_eq!(found.devices.len(), 100.min(count as usize));
    }
    assert_eq!(store.access_states_after(0).await.unwrap(), [], "not for a dry run");
    let revoked = revoke(by_claim, None, false).await;
    assert_eq!(revoked.count, 300);
    let named: Vec<_> = revoked.devices.iter().map(|device| device.as_str()).collect();
    assert_eq!(named, ids[..100]);
    let states = store.access_states_after(0).await.unwrap();
    assert_eq!(states.len(), 300);
    assert!(states.iter().all(|state| state.generation > 0));
    let lines = audited(store, AuditAction::DeviceRevoked, 300).await;
    assert_eq!(lines[0], Some(format!("claim:{}", claim.id)));
    assert_eq!(became(store, &request("pump-100", &proof, nonce(1))).await, Refused(IdTaken));
    assert_eq!(revoke(by_account, Some("v*"), false).await.devices, [device("valve")]);
    assert_eq!(store.device(&device("pump-own")).await.unwrap().unwrap().generation, 0);
}
