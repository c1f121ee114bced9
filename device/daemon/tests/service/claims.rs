//! The registration by a claim, or by a certificate alone, in a cloud that may refuse it.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedecks_cloud::{Decision, Handler, Login};
use fedecks_protocol::{Credentials, NONCE_KEY, Refusal};
use fedecks_testing::certificates::Certificate;
use tokio::sync::mpsc::UnboundedSender;

use crate::provisioning::read_only;
use crate::support::fedecksd::{Setup, is_anywhere_in};
use crate::support::{is_root, write};

pub(crate) const SECRET: &str = "fdc_hunter2hunter2hunter2hun";

/// Records credentials, and gives the planned answers before it accepts.
struct Registrar {
    seen: UnboundedSender<Credentials>,
    answers: Answers,
}

pub(crate) type Answers = Arc<Mutex<VecDeque<Decision>>>;

pub(crate) type Cloud = fedecks_testing::cloud::Cloud<Credentials>;

impl Handler for Registrar {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        self.seen.send(login.credentials.clone()).unwrap();
        self.answers.lock().unwrap().pop_front().unwrap_or(Decision::Accept)
    }
}

pub(crate) fn refuse(refusal: Refusal, retry_after: Option<u64>) -> Decision {
    Decision::Refuse { refusal, retry_after: retry_after.map(Duration::from_secs) }
}

/// A cloud that answers like this, and a device without credentials.
pub(crate) async fn scene(answers: impl Into<VecDeque<Decision>>) -> (Cloud, Setup, Answers) {
    let answers = Arc::new(Mutex::new(answers.into()));
    let of_cloud = Arc::clone(&answers);
    let cloud = Cloud::start(|seen| Registrar { seen, answers: of_cloud }).await;
    let setup = Setup::new(cloud.address);
    (cloud, setup, answers)
}

/// The same with a claim on another partition.
async fn with_claim(answers: impl Into<VecDeque<Decision>>) -> (Cloud, Setup, PathBuf) {
    let (cloud, setup, _) = scene(answers).await;
    let file = setup.folder.path().join("boot/provision.toml");
    fs::create_dir(file.parent().unwrap()).unwrap();
    write(&file, format!("claim = {SECRET:?}\n"), 0o600);
    (cloud, setup.line("provision_file", file.to_str().unwrap()), file)
}

/// The nonce of the next login, which has the claim and nothing else.
pub(crate) async fn claimed(cloud: &mut Cloud) -> String {
    let credentials = cloud.next().await;
    assert_eq!((credentials.text("claim"), credentials.iter().count()), (Some(SECRET), 2));
    credentials.text(NONCE_KEY).unwrap().to_owned()
}

#[tokio::test]
async fn a_claim_that_waits_for_approval_says_so_once() {
    let pending = refuse(Refusal::ApprovalPending, Some(1));
    let (mut cloud, setup, file) = with_claim([pending, pending]).await;
    let mut service = setup.start();
    service.logs("used and removed").await;
    let log = service.terminate().await;
    let told = "the login waits: an operator has to approve this device; in the cloud: fedecks-cloud \
                device approve kitchen-1";
    assert_eq!(log.matches(told).count(), 1, "{log}");
    assert_eq!(log.matches("approve").count(), 2, "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    assert!(!file.exists() && !is_anywhere_in(setup.folder.path(), "hunter2"));
    let first = claimed(&mut cloud).await;
    for _ in 0..2 {
        assert_eq!(claimed(&mut cloud).await, first);
    }
}

#[tokio::test]
async fn a_refused_claim_says_what_to_do() {
    for (refusal, expected) in [
        (Refusal::ClaimExpired, "the claim has expired: ask for a new one"),
        (Refusal::ClaimUsedUp, "the claim is used up: ask for a new one"),
        (Refusal::ClaimRevoked, "the claim was revoked: ask for a new one"),
        (
            Refusal::ClaimMismatch,
            "the claim is for other device ids than this one; give this device a claim for kitchen-1",
        ),
    ] {
        let (_cloud, setup, file) = with_claim([refuse(refusal, None)]).await;
        let mut service = setup.start();
        service.logs("rejected and renamed").await;
        service.terminate().await;
        let note = fs::read_to_string(file.with_file_name("provision.toml.rejected.txt")).unwrap();
        let expected = format!("Rejected: the cloud refused the login: {expected}. ");
        assert!(note.starts_with(&expected), "{note}");
    }
}

#[tokio::test]
async fn a_claim_for_a_taken_id_is_kept() {
    let (mut cloud, setup, file) = with_claim([refuse(Refusal::IdTaken, None)]).await;
    let mut service = setup.start();
    let line = service.logs("kept and tried again within an hour").await;
    assert!(line.contains("fedecks-cloud device allow-reregistration kitchen-1"), "{line}");
    service.terminate().await;
    assert!(file.exists());
    let mut service = setup.start();
    service.logs("used and removed").await;
    service.terminate().await;
    assert_eq!(claimed(&mut cloud).await, claimed(&mut cloud).await);
}

#[tokio::test]
async fn a_claim_in_an_image_registers_a_wiped_board_again() {
    if !is_root() {
        return;
    }
    let (mut cloud, setup, file) = with_claim([]).await;
    let setup = read_only(setup, &file);
    let mut nonces = Vec::new();
    for _ in 0..2 {
        let mut service = setup.start();
        service.logs("the claim was used and stays").await;
        let log = service.terminate().await;
        assert!(!log.contains("ERROR"), "{log}");
        nonces.push(claimed(&mut cloud).await);
        // It is not used again.
        let mut service = setup.start();
        service.logs("connected").await;
        assert!(!service.terminate().await.contains("logging in with"));
        fs::remove_dir_all(setup.data()).unwrap();
        fs::create_dir(setup.data()).unwrap();
    }
    assert_ne!(nonces[0], nonces[1], "the second one is a return");
    assert!(file.exists() && cloud.try_next().is_none());
}

#[tokio::test]
async fn a_certificate_alone_logs_in_whenever_there_is_no_token() {
    let (mut cloud, setup, answers) = scene([refuse(Refusal::CertificateRefused, None)]).await;
    let [certificate, key] = Certificate::self_signed("kitchen-1").write(setup.folder.path());
    let setup = setup
        .line("client_cert", certificate.to_str().unwrap())
        .line("client_key", key.to_str().unwrap())
        .value("client_cert_login", "true");
    let mut service = setup.start();
    let line = service.logs("tried again within an hour").await;
    assert!(
        line.contains("its certificate must be for kitchen-1, valid, and not revoked"),
        "{line}"
    );
    service.does_not_log("logging in", Duration::from_millis(2_500)).await;
    service.kill().await;

    let mut nonces = Vec::new();
    for _ in 0..2 {
        let mut service = setup.start();
        service.logs("logging in by the certificate alone").await;
        service.logs("logged in").await;
        service.terminate().await;
        let mut service = setup.start();
        service.logs("connected").await;
        assert!(!service.terminate().await.contains("logging in"));
        fs::remove_file(setup.data().join("token")).unwrap();
    }
    for _ in 0..3 {
        let credentials = cloud.next().await;
        assert_eq!(credentials.iter().count(), 1);
        nonces.push(credentials.text(NONCE_KEY).unwrap().to_owned());
    }
    nonces.dedup();
    assert_eq!(nonces.len(), 1);
    assert!(answers.lock().unwrap().is_empty() && cloud.try_next().is_none());
}
