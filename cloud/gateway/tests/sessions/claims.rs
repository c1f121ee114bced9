//! Registration by claims and accounts, over real sockets: who gets in, who does not, and what is counted.

use std::net::SocketAddr;
use std::sync::Arc;

use fedecks_cloud::DeviceId;
use fedecks_cloud::accounts::{AccountHandler, RegistrationObserver, hash_password};
use fedecks_cloud::store::{
    AccountStore, Actor, AuditAction, AuditQuery, AuditStore, ClaimStore, DeviceStore, NewClaim,
    RegisteredBy, Registration, RegistrationStore, SqliteStore, unix_now,
};
use fedecks_protocol::{Credentials, DownFrame, Proof, Refusal, UpFrame};
use fedecks_testing::cloud::CloudOptions;
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::until;
use fedecks_testing::{PASSWORD, USER};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use crate::support::id;

/// A cloud with accounts and claims, the store of both, and what its observer has seen.
struct Bed {
    cloud: fedecks_testing::cloud::Cloud<()>,
    store: Arc<SqliteStore>,
    seen: Arc<Observed>,
}

#[derive(Default)]
struct Observed(Mutex<Vec<String>>);

impl RegistrationObserver for Observed {
    fn on_registered(&self, device: &DeviceId, registration: &Registration, returned: bool) {
        let word = if returned { "returned" } else { "registered" };
        self.0.lock().push(format!("{device} {word} by {}", registration.by));
    }

    fn on_refused(&self, device: &DeviceId, by: &RegisteredBy, refusal: Refusal) {
        self.0.lock().push(format!("{device} {} by {by}", refusal.reason()));
    }
}

impl Bed {
    async fn start() -> Self {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let hash = hash_password(PASSWORD).unwrap();
        store.add_account(USER, &hash, &Actor::cli()).await.unwrap();
        let seen = Arc::<Observed>::default();
        let handler = AccountHandler::new(store.clone()).observer(seen.clone());
        let options = CloudOptions { store: Some(store.clone()), ..CloudOptions::default() };
        let cloud = options.start(|_: UnboundedSender<()>| handler).await;
        Self { cloud, store, seen }
    }

    async fn claim(&self, pattern: &str, change: impl FnOnce(&mut NewClaim)) -> NewClaim {
        let mut claim = NewClaim::new(pattern.parse().unwrap());
        change(&mut claim);
        self.store.add_claims(std::slice::from_ref(&claim), &Actor::cli()).await.unwrap();
        claim
    }

    async fn login(&self, device: &str, credentials: Credentials) -> String {
        login(self.cloud.address, device, credentials).await
    }

    /// Waits until the audit log says that the registration of a device was refused for this reason.
    async fn until_refused(&self, device: &str, reason: &str) {
        let query = AuditQuery { device: Some(id(device)), ..AuditQuery::default() };
        until(async || {
            let lines = self.store.audit_page(&query).await.unwrap();
            let mut refused =
                lines.iter().filter(|line| line.action == AuditAction::RegistrationRefused);
            refused.any(|line| line.detail.as_deref() == Some(reason)).then_some(())
        })
        .await;
    }

    /// The device connects by the token that it got, so that it has stored it.
    async fn comes_by_token(&self, device: &str, credentials: Credentials) {
        let token = {
            let proof = Proof::Credentials(credentials);
            let mut session = RawDevice::dial(self.cloud.address, device, proof).await.unwrap();
            session.welcome().await;
            let DownFrame::Token(issued) = session.frame().await else { panic!("no token") };
            issued.token
        };
        let proof = Proof::Token(token);
        drop(RawDevice::dial(self.cloud.address, device, proof).await.unwrap());
        until(async || self.cloud.hub.list().await.unwrap().is_empty().then_some(())).await;
    }
}

/// `connected`, or why not.
async fn login(address: SocketAddr, device: &str, credentials: Credentials) -> String {
    match RawDevice::dial(address, device, Proof::Credentials(credentials)).await {
        Ok(_) => "connected".to_owned(),
        Err(refused) => refused.reason.unwrap_or_default(),
    }
}

fn by_claim(claim: &NewClaim, nonce: u32) -> Credentials {
    Credentials::new().with("claim", claim.secret.expose()).with("nonce", format!("{nonce:032x}"))
}

fn by_account(nonce: u32) -> Credentials {
    fedecks_testing::device::credentials(USER, PASSWORD).with("nonce", format!("{nonce:032x}"))
}

#[tokio::test]
async fn a_stolen_claim_or_password_takes_no_id() {
    let bed = Bed::start().await;
    let claim = bed.claim("*", |claim| claim.uses = 9).await;
    bed.comes_by_token("pump-1", by_claim(&claim, 1)).await;
    for credentials in [by_claim(&claim, 2), by_claim(&claim, 1), by_account(1), by_account(2)] {
        assert_eq!(bed.login("pump-1", credentials).await, "id-taken");
    }
    bed.until_refused("pump-1", "id-taken").await;
    let seen = bed.seen.0.lock().clone();
    let by = format!("by claim:{}", claim.id);
    assert_eq!(seen[..2], [format!("pump-1 registered {by}"), format!("pump-1 id-taken {by}")]);
    assert_eq!(seen[3], format!("pump-1 id-taken by account:{USER}"));
    // Once, with the permission of an operator.
    let until = unix_now() + 60;
    let (device, by) = (id("pump-1"), Actor::cli());
    assert!(bed.store.allow_reregistration(&device, until, &by).await.unwrap());
    assert_eq!(bed.login("pump-1", by_account(3)).await, "connected");
    assert_eq!(bed.login("pump-1", by_account(4)).await, "id-taken");
}

#[tokio::test]
async fn a_bad_claim_is_refused_with_its_reason_and_audited() {
    let bed = Bed::start().await;
    let unknown = NewClaim::new("*".parse().unwrap());
    assert_eq!(bed.login("a", by_claim(&unknown, 1)).await, "bad-credentials");
    let nonsense = Credentials::new().with("claim", "fdc_nonsense");
    assert_eq!(bed.login("a", nonsense).await, "bad-credentials");
    let expired = bed.claim("*", |claim| claim.expires_at = Some(unix_now())).await;
    let used_up = bed.claim("*", |_| {}).await;
    assert_eq!(bed.login("first", by_claim(&used_up, 1)).await, "connected");
    let mismatch = bed.claim("pump-*", |_| {}).await;
    let revoked = bed.claim("*", |_| {}).await;
    bed.store.revoke_claim(revoked.id, &Actor::cli()).await.unwrap();
    for (device, claim, reason) in [
        ("b", expired, "claim-expired"),
        ("c", used_up, "claim-used-up"),
        ("d", mismatch, "claim-mismatch"),
        ("e", revoked, "claim-revoked"),
    ] {
        assert_eq!(bed.login(device, by_claim(&claim, 1)).await, reason);
        bed.until_refused(device, reason).await;
    }
}

#[tokio::test]
async fn of_two_at_the_same_moment_one_gets_the_last_use() {
    let bed = Bed::start().await;
    for round in 0..20 {
        let claim = bed.claim("*", |_| {}).await;
        // In odd rounds both want the same id.
        let (a, same) = (format!("{round}-a"), round % 2 == 1);
        let b = if same { a.clone() } else { format!("{round}-b") };
        let answers =
            tokio::join!(bed.login(&a, by_claim(&claim, 1)), bed.login(&b, by_claim(&claim, 2)));
        let mut answers = [answers.0, answers.1];
        answers.sort();
        let refused = if same { "id-taken" } else { "claim-used-up" };
        let mut expected = ["connected", refused];
        expected.sort_unstable();
        assert_eq!(answers, expected, "round {round}");
    }
}

#[tokio::test]
async fn a_wiped_board_returns_by_its_own_claim_only() {
    let bed = Bed::start().await;
    let own = bed.claim("pump-1", |claim| claim.returns = 1).await;
    let strict = bed.claim("pump-2", |claim| claim.returns = 0).await;
    bed.comes_by_token("pump-1", by_claim(&own, 1)).await;
    bed.comes_by_token("pump-2", by_claim(&strict, 1)).await;
    let mut live = RawDevice::connect(bed.cloud.address, "pump-1").await;
    assert_eq!(bed.login("pump-1", by_claim(&own, 2)).await, "in-use");
    drop(live.ws.close(None).await);
    until(async || bed.cloud.hub.list().await.unwrap().is_empty().then_some(())).await;
    assert_eq!(bed.login("pump-1", by_claim(&own, 2)).await, "connected");
    let generation = bed.cloud.denylist.generation(&id("pump-1"));
    assert!(generation > 0, "before the session starts");
    let stored = bed.store.device(&id("pump-1")).await.unwrap().unwrap();
    assert_eq!(stored.generation, generation);
    let old = fedecks_testing::raw_device::fresh_token("pump-1");
    let refused = RawDevice::dial(bed.cloud.address, "pump-1", old).await.unwrap_err();
    assert_eq!(refused.reason.as_deref(), Some("token-revoked"));
    assert_eq!(bed.login("pump-1", by_claim(&own, 3)).await, "claim-used-up");
    assert_eq!(bed.login("pump-2", by_claim(&strict, 2)).await, "claim-used-up");
    let returned = format!("pump-1 returned by claim:{}", own.id);
    assert!(bed.seen.0.lock().contains(&returned));
}

#[tokio::test]
async fn a_device_waits_for_approval_and_then_works() {
    let bed = Bed::start().await;
    let claim = bed.claim("*", |claim| claim.approval = true).await;
    let proof = Proof::Credentials(by_claim(&claim, 1));
    let refused = RawDevice::dial(bed.cloud.address, "pump-1", proof).await.unwrap_err();
    assert_eq!((refused.status, refused.reason.as_deref()), (503, Some("approval-pending")));
    assert_eq!(refused.headers["retry-after"], "60");
    assert!(bed.store.approve(&id("pump-1"), &Actor::cli()).await.unwrap());
    let proof = Proof::Credentials(by_claim(&claim, 1));
    let mut device = RawDevice::dial(bed.cloud.address, "pump-1", proof).await.unwrap();
    device.welcome().await;
    device.send(&UpFrame::Raw { sequence: None, bytes: vec![1] }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_1200_boards_1000_register_on_1000_uses() {
    let bed = Bed::start().await;
    let claim = bed.claim("board-*", |claim| claim.uses = 1000).await;
    let address = bed.cloud.address;
    let boards = (0..1200).map(|number| {
        let credentials = by_claim(&claim, number);
        tokio::spawn(async move {
            let device = format!("board-{number}");
            if number % 3 == 0 {
                // The link is cut after the request, and mostly before the answer.
                let login = login(address, &device, credentials.clone());
                let patience = std::time::Duration::from_millis(u64::from(number % 50));
                let _ = tokio::time::timeout(patience, login).await;
            }
            login(address, &device, credentials).await
        })
    });
    let answers = join_all(boards).await;
    let count = |reason| answers.iter().filter(|it| it.as_ref().unwrap() == reason).count();
    assert_eq!((count("connected"), count("claim-used-up")), (1000, 200));
    let stored = bed.store.claim(claim.id).await.unwrap().unwrap();
    assert_eq!((stored.used, stored.returned), (1000, 0));
    let mut uses = bed.store.claim_uses(claim.id, None, 1000).await.unwrap();
    uses.sort_by(|one, other| one.device.cmp(&other.device));
    uses.dedup_by(|one, other| one.device == other.device);
    assert_eq!(uses.len(), 1000, "no board has spent two");
}
