//! `fedecks login --claim`, in a cloud that may let it wait.

use fedecks_protocol::Refusal;

use super::fedecks::{run_on, run_with_on};
use super::terminal::Session;
use crate::claims::{Answers, Cloud, SECRET, claimed, refuse, scene};
use crate::support::bus::Bus;
use crate::support::fedecksd::{Fedecksd, Setup};
use crate::support::scene::READY;
use crate::support::write;

/// A cloud that lets logins wait for this reason, and the service on a bus. None if there can be no bus.
async fn waiting_for(refusal: Refusal) -> Option<(Cloud, Setup, Answers, Bus, Fedecksd)> {
    let bus = Bus::start().await?;
    let (cloud, setup, answers) = scene([refuse(refusal, refusal.waits().then_some(1)); 100]).await;
    let setup = setup.on(&bus);
    let mut service = setup.start();
    service.logs(READY).await;
    Some((cloud, setup, answers, bus, service))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_hidden_and_waits_for_approval_on_a_terminal() {
    let scene = waiting_for(Refusal::ApprovalPending).await;
    let Some((mut cloud, _setup, answers, bus, _service)) = scene else { return };
    let mut session = Session::start_on(&bus, &["login", "--claim"], &[]);
    session.sees("claim: ");
    assert!(!session.is_echoing());
    session.types(&format!("{SECRET}\n"));
    session.sees(
        "waiting: an operator has to approve this device; in the cloud: fedecks-cloud device approve kitchen-1",
    );
    claimed(&mut cloud).await;
    // The call of the login has ended without an answer.
    session.sees("still waiting; Ctrl-C ends this command and leaves the login to the service");
    let status = run_on(&bus.address(), &["status"]).await.succeeds().stdout;
    let line = status.lines().find(|line| line.contains("  state  ")).unwrap();
    assert!(line.ends_with("fedecks-cloud device approve kitchen-1"), "{line}");
    answers.lock().unwrap().clear();
    session.sees("logged in");
    assert_eq!(session.end().await, Some(0));
    assert_eq!(session.screen.matches("approve this device").count(), 1, "{}", session.screen);
    assert!(!session.screen.contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_a_claim_that_waits_to_the_service() {
    let Some((_cloud, _setup, answers, bus, mut service)) = waiting_for(Refusal::InUse).await
    else {
        return;
    };
    let mut session = Session::start_on(&bus, &["login", "--claim"], &[]);
    session.sees("claim: ");
    session.types(&format!("FEDECKS1;c={SECRET};d=kitchen-1\n"));
    session.sees("waiting: a device with this id is connected");
    session.types("\x03");
    assert_eq!(session.end().await, Some(130));
    answers.lock().unwrap().clear();
    service.logs("logged in").await;
}

#[tokio::test]
async fn a_claim_is_read_from_standard_input_or_a_file() {
    let scene = waiting_for(Refusal::ClaimRevoked).await;
    let Some((mut cloud, setup, answers, bus, _service)) = scene else { return };
    let file = setup.folder.path().join("claim");
    write(&file, format!("{SECRET}\n"), 0o600);
    let by_file = ["login", "--claim-file", file.to_str().unwrap()];
    let refused = run_on(&bus.address(), &by_file).await;
    refused.fails(5, "the claim was revoked: ask for a new one");
    claimed(&mut cloud).await;
    answers.lock().unwrap().clear();
    let ended = run_with_on(&bus.address(), &["login", "--claim", "-"], SECRET).await;
    assert_eq!(ended.succeeds().stdout, "logged in\n");
    claimed(&mut cloud).await;
    let ended = run_with_on(&bus.address(), &["login", "--claim", "-"], "hunter2").await;
    ended.fails(2, "a claim begins with fdc_; this is something else");
    run_on(&bus.address(), &["login", "--claim"]).await.fails(2, "cannot prompt");
}
