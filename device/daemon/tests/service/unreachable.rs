//! The program that runs when the cloud has been unreachable for too long.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::support::fedecksd::Setup;
use crate::support::process::{gone, id_in, write_id};
use crate::support::{By, Seen, cloud, cloud_at, write};

/// A device with a token and an action that records its reasons, the former address of its cloud, and the records.
async fn unreachable() -> (Setup, SocketAddr, PathBuf) {
    let mut cloud = cloud().await;
    let setup = Setup::new(cloud.address).with_credentials();
    let runs = setup.folder.path().join("runs");
    let reason = "$FEDECKS_UNREACHABLE_SECONDS $FEDECKS_UNREACHABLE_TIMES";
    let script = format!("echo \"{reason}\" >> {}", runs.display());
    let setup = with_action(setup, &script).line("unreachable_after", "1s");
    setup.run(&mut cloud, By::Credentials, "used and removed").await;
    (setup, cloud.stop().await, runs)
}

fn with_action(setup: Setup, script: &str) -> Setup {
    let program = setup.folder.path().join("action");
    write(&program, format!("#!/bin/sh\n{script}\n"), 0o755);
    setup.line("unreachable_action", program.to_str().unwrap())
}

#[tokio::test]
async fn the_action_runs_ever_more_rarely_across_restarts() {
    let (setup, _, runs) = unreachable().await;
    let mut service = setup.start();
    service.logs("running unreachable_action").await;
    service.logs("unreachable_action succeeded").await;
    assert_eq!(fs::read_to_string(&runs).unwrap(), "1 1\n");
    service.kill().await;

    // As if the action had restarted the device.
    let mut service = setup.start();
    service.logs("unreachable_action succeeded").await;
    assert_eq!(fs::read_to_string(&runs).unwrap(), "1 1\n2 2\n");
    service.kill().await;
    let record = fs::read_to_string(setup.data().join("unreachable")).unwrap();
    assert!(record.contains("times 2\n"), "{record}");
}

#[tokio::test]
async fn an_action_whose_runs_cannot_be_counted_is_not_run() {
    let (setup, _, runs) = unreachable().await;
    // A folder with the name of the file to write.
    fs::create_dir_all(setup.data().join("unreachable.new/not-empty")).unwrap();
    setup.start().logs("unreachable_action is not run").await;
    assert!(!runs.exists());
}

#[tokio::test]
async fn a_failing_action_is_logged_and_a_connection_resets_the_count() {
    let (setup, address, _) = unreachable().await;
    let setup = setup.line("unreachable_action", "/bin/false");
    let mut service = setup.start();
    service.logs("unreachable_action failed program=/bin/false status=exit status: 1").await;
    assert!(setup.data().join("unreachable").exists());
    let mut cloud = cloud_at(address).await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    service.logs(" connected").await;
    service.terminate().await;
    assert!(!setup.data().join("unreachable").exists());
}

#[tokio::test]
async fn a_short_connection_while_the_action_runs_resets_the_count() {
    let (setup, address, _) = unreachable().await;
    let go = setup.folder.path().join("go");
    let script = format!("until [ -e {} ]; do sleep 0.1; done", go.display());
    let setup = with_action(setup, &script);
    let mut service = setup.start();
    service.logs("running unreachable_action").await;
    let mut cloud = cloud_at(address).await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    service.logs(" connected").await;
    cloud.stop().await;
    service.logs("connection lost").await;
    fs::write(&go, "").unwrap();
    service.logs("unreachable_action succeeded").await;
    let again = service.logs("running unreachable_action").await;
    assert!(again.contains("times=1"), "{again}");
}

#[tokio::test]
async fn the_action_ends_with_the_service_as_a_whole() {
    let (setup, _, _) = unreachable().await;
    let file = setup.folder.path().join("id");
    let setup = with_action(setup, &format!("sleep 600 & {}; wait", write_id("$!", &file)));
    let mut service = setup.start();
    service.logs("running unreachable_action").await;
    let child = id_in(&file).await;
    service.terminate().await;
    gone(child).await;
}

#[tokio::test]
async fn the_action_of_a_killed_service_ends() {
    let (setup, _, _) = unreachable().await;
    let file = setup.folder.path().join("id");
    let setup = with_action(setup, &format!("{}; exec sleep 600", write_id("$$", &file)));
    let mut service = setup.start();
    service.logs("running unreachable_action").await;
    let action = id_in(&file).await;
    service.kill().await;
    gone(action).await;
}
