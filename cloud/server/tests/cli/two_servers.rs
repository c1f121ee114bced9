//! Two servers on one store: only one of them may serve it. The commands use it at the same time.

use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::wait::within;
use fedecks_testing::{PASSWORD, USER};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::{LISTEN, PROGRAM};

/// Exit code of a server whose store another one uses; docs/cloud.md says the same.
const IN_USE: i32 = 75;

const STORE: &str = "fedecks-data/fedecks.sqlite";

async fn server() -> CloudProcess {
    let program = CloudProgram::new(PROGRAM);
    program.add_account(USER, PASSWORD).await;
    program.serve(&LISTEN).await
}

/// A second server with the same store, which waits for the first one.
async fn waiting(first: &CloudProcess) -> (Child, impl AsyncFnMut(&str) + use<>) {
    let arguments = [&["serve"][..], &LISTEN].concat();
    let mut second = first.program.command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(second.stderr.take().unwrap()).lines();
    let mut logs = async move |text: &str| {
        while let Some(line) = within(lines.next_line()).await.unwrap() {
            if line.contains(text) {
                return;
            }
        }
        panic!("it ended without logging {text:?}");
    };
    logs("waiting for the process").await;
    (second, logs)
}

#[tokio::test]
async fn a_second_server_ends_with_75_and_names_the_store() {
    let server = server().await;
    let folder = server.program.folder.path();
    symlink("fedecks-data", folder.join("link")).unwrap();
    symlink(STORE, folder.join("link.sqlite")).unwrap();
    let other = folder.join("other");
    let other = other.to_str().unwrap();
    let ways = [
        (vec![], STORE),
        (vec!["--data-dir", "link"], "link/fedecks.sqlite"),
        (vec!["--data-dir", other, "--self-signed"], "link.sqlite"),
    ];
    // At the same time, as each waits a few seconds.
    let ended = futures_util::future::join_all(ways.iter().map(async |(options, store)| {
        let arguments = [&["serve"][..], &LISTEN, options].concat();
        let mut command = server.program.command(&arguments);
        if *store == "link.sqlite" {
            command.env("FEDECKS_STORE", store);
        }
        let command = command.stderr(Stdio::piped()).kill_on_drop(true);
        within(command.output()).await.unwrap()
    }));
    for (output, (options, store)) in ended.await.into_iter().zip(&ways) {
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(IN_USE), "{options:?}: {error}");
        let expected = format!("fedecks-cloud: the store {store} is in use by another server");
        assert!(error.lines().last().unwrap().starts_with(&expected), "{options:?}: {error}");
    }
    assert_eq!(server.http().get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_server_waits_for_its_predecessor_to_end() {
    let mut first = server().await;
    let (_second, mut logs) = waiting(&first).await;
    first.signal(Signal::SIGTERM);
    assert_eq!(first.ended().await, Some(0));
    logs("ready").await;
}

#[tokio::test]
async fn a_server_that_waits_for_another_ends_on_a_signal() {
    let first = server().await;
    let (mut second, _logs) = waiting(&first).await;
    let asked = Instant::now();
    kill(Pid::from_raw(second.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(within(second.wait()).await.unwrap().code(), Some(0));
    // Far sooner than it would give up waiting.
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_killed_server_leaves_no_lock() {
    let mut server = server().await;
    server.kill().await;
    assert!(server.program.folder.path().join(format!("{STORE}.lock")).exists());
    let log = server.log().len();
    server.start_again().await;
    assert!(!server.log()[log..].contains("in use"), "{}", server.log());
}

#[tokio::test]
async fn the_commands_work_beside_a_server() {
    let server = server().await;
    let program = &server.program;
    program.add_account("trillian", PASSWORD).await;
    for arguments in [
        &["account", "list"][..],
        &["token", "add", "me", "--role", "read"],
        &["token", "list"],
        &["device", "block", "nerves-1", "--allow-unknown"],
        &["device", "list"],
        &["audit", "list"],
        &["webhook", "dead-letters"],
        &["clock", "show"],
        &["check-config"],
        &["backup", "copy"],
        &["restore", "copy"],
        &["account", "list"],
    ] {
        program.run(arguments, "").await;
    }
    assert_eq!(server.http().get("/healthz").await.status, 200);
    // The restored file is another one, and still the server's.
    program.fails(&[&["serve"][..], &LISTEN].concat(), IN_USE).await;
}
