//! The contract of claims.

use super::support::{cli, device, is_recent};
use crate::claims::{ClaimId, ClaimQuery, ClaimRecord, ClaimState, ClaimStore, NewClaim};
use crate::error::StoreError;
use crate::registrations::{RegistrationProof, RegistrationRequest, RegistrationStore};
use crate::time::unix_now;

/// Tests the contract of [`ClaimStore`] on empty stores, which `open` creates.
pub async fn claims<S: ClaimStore + RegistrationStore>(open: impl AsyncFn() -> S) {
    all_claims_are_added_or_none(&open().await).await;
    pages_are_newest_first_and_filtered(&open().await).await;
    a_claim_is_revoked_once(&open().await).await;
    what_is_worthless_is_deleted_after_a_year(&open().await).await;
}

/// A claim for these ids.
pub(super) fn claim_for(pattern: &str) -> NewClaim {
    NewClaim::new(pattern.parse().unwrap())
}

fn record(claim: &NewClaim, created_at: u64) -> ClaimRecord {
    let NewClaim { id, devices, uses, returns, expires_at, label, approval, note, .. } =
        claim.clone();
    ClaimRecord {
        id,
        devices,
        uses,
        used: 0,
        returns,
        returned: 0,
        expires_at,
        revoked_at: None,
        label,
        approval,
        note,
        created_at,
        created_by: "cli".to_owned(),
    }
}

async fn ids(store: &impl ClaimStore, query: &ClaimQuery) -> Vec<ClaimId> {
    store.claims_page(query).await.unwrap().iter().map(|claim| claim.id).collect()
}

async fn all_claims_are_added_or_none(store: &impl ClaimStore) {
    let one = NewClaim {
        label: Some("Pump".to_owned()),
        expires_at: Some(unix_now() + 60),
        approval: true,
        note: Some("line 2".to_owned()),
        ..claim_for("pump-1")
    };
    let many = NewClaim { uses: 7, ..claim_for("pump-*") };
    store.add_claims(&[one.clone(), many.clone()], &cli()).await.unwrap();
    let stored = store.claim(one.id).await.unwrap().unwrap();
    assert!(is_recent(stored.created_at));
    assert_eq!(stored, record(&one, stored.created_at));
    let found = store.claim_by_hash(&many.secret.hash()).await.unwrap();
    let expected = ClaimRecord { returns: 0, ..record(&many, stored.created_at) };
    assert_eq!(found, Some(expected), "only one device returns");
    assert_eq!(store.claim_by_hash(&[7; 32]).await.unwrap(), None);
    assert_eq!(store.claim(claim_for("*").id).await.unwrap(), None);

    let same_id = NewClaim { id: one.id, ..claim_for("a") };
    let same_secret = NewClaim { secret: one.secret.clone(), ..claim_for("a") };
    let twice = claim_for("b");
    for batch in [vec![claim_for("c"), same_id], vec![same_secret], vec![twice.clone(), twice]] {
        let added = store.add_claims(&batch, &cli()).await;
        assert!(matches!(added, Err(StoreError::Exists { .. })), "{added:?}");
    }
    let too_many = vec![claim_for("a"); NewClaim::MAX_AT_ONCE + 1];
    let added = store.add_claims(&too_many, &cli()).await;
    assert!(matches!(added, Err(StoreError::TooMany { .. })), "{added:?}");
    assert_eq!(ids(store, &ClaimQuery::default()).await, [many.id, one.id]);
}

async fn pages_are_newest_first_and_filtered<S>(store: &S)
where
    S: ClaimStore + RegistrationStore,
{
    let now = unix_now();
    let expired = NewClaim { expires_at: Some(now - 1), ..claim_for("site-a-*") };
    let active = NewClaim { note: Some("Küche".to_owned()), ..claim_for("site-b-1") };
    let revoked = NewClaim { label: Some("Keller".to_owned()), ..claim_for("site-c-1") };
    let used_up = NewClaim { returns: 0, ..claim_for("site-d-1") };
    let all = [&expired, &active, &revoked, &used_up];
    store.add_claims(&all.map(Clone::clone), &cli()).await.unwrap();
    store.revoke_claim(revoked.id, &cli()).await.unwrap();
    let request = RegistrationRequest {
        device: device("site-d-1"),
        proof: RegistrationProof::from(&used_up.secret),
        nonce: None,
        address: None,
        at: now,
        in_use: false,
        may_reregister: false,
    };
    store.register(&request).await.unwrap();
    let [expired, active, revoked, used_up] = all.map(|claim| claim.id);
    let query = ClaimQuery::default;
    let search = |text: &str| ClaimQuery { search: Some(text.to_owned()), ..query() };
    let state = |state| ClaimQuery { state: Some(state), ..query() };
    for (query, found) in [
        (query(), &[used_up, revoked, active, expired][..]),
        (ClaimQuery { limit: 1, ..query() }, &[used_up]),
        (ClaimQuery { limit: 0, ..query() }, &[]),
        (ClaimQuery { after: Some(revoked), ..query() }, &[active, expired]),
        (ClaimQuery { after: Some(expired), ..query() }, &[]),
        (ClaimQuery { after: Some(ClaimId::generate()), ..query() }, &[]),
        (state(ClaimState::Active), &[active]),
        (state(ClaimState::UsedUp), &[used_up]),
        (state(ClaimState::Expired), &[expired]),
        (ClaimQuery { now: now - 2, ..state(ClaimState::Active) }, &[active, expired]),
        (state(ClaimState::Revoked), &[revoked]),
        (search("KÜCHE"), &[active]),
        (search("kel"), &[revoked]),
        (search("SITE-A"), &[expired]),
        (search(&used_up.to_string()), &[used_up]),
        (search("%"), &[]),
    ] {
        assert_eq!(ids(store, &query).await, found, "{query:?}");
    }
}

async fn a_claim_is_revoked_once(store: &impl ClaimStore) {
    let claim = claim_for("a");
    assert!(!store.revoke_claim(claim.id, &cli()).await.unwrap());
    store.add_claims(std::slice::from_ref(&claim), &cli()).await.unwrap();
    assert!(store.revoke_claim(claim.id, &cli()).await.unwrap());
    assert!(!store.revoke_claim(claim.id, &cli()).await.unwrap());
    let revoked = store.claim(claim.id).await.unwrap().unwrap();
    assert!(is_recent(revoked.revoked_at.unwrap()));
}

async fn what_is_worthless_is_deleted_after_a_year<S>(store: &S)
where
    S: ClaimStore + RegistrationStore,
{
    let now = unix_now();
    let claims = [
        NewClaim { expires_at: Some(now + 60), ..claim_for("expires") },
        claim_for("revoked"),
        NewClaim { returns: 0, ..claim_for("used-up") },
        claim_for("returns"),
        NewClaim { approval: true, ..claim_for("waits") },
    ];
    store.add_claims(&claims, &cli()).await.unwrap();
    store.revoke_claim(claims[1].id, &cli()).await.unwrap();
    for (id, claim) in ["used-up", "returns", "waits"].iter().zip(&claims[2..]) {
        let request = RegistrationRequest {
            device: device(id),
            proof: RegistrationProof::from(&claim.secret),
            nonce: None,
            address: None,
            at: now,
            in_use: false,
            may_reregister: false,
        };
        store.register(&request).await.unwrap();
    }
    assert_eq!(store.expire_claims(now + 86_400).await.unwrap(), 0);
    assert_eq!(store.approvals_page(None, 10).await.unwrap().len(), 1);
    assert_eq!(store.expire_claims(now + ClaimRecord::KEPT_S).await.unwrap(), 1, "what waited");
    assert_eq!(store.approvals_page(None, 10).await.unwrap(), []);
    // Three claims, and one use.
    let later = now + ClaimRecord::KEPT_S + 3600;
    assert_eq!(store.expire_claims(later).await.unwrap(), 4);
    assert_eq!(store.expire_claims(later).await.unwrap(), 0);
    assert_eq!(ids(store, &ClaimQuery::default()).await, [claims[4].id, claims[3].id]);
    assert_eq!(store.claim_uses(claims[2].id, None, 10).await.unwrap(), []);
    assert_eq!(store.claim_uses(claims[3].id, None, 10).await.unwrap().len(), 1);
}
