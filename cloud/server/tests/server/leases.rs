//! The lease of a server on a PostgreSQL database: after a start that failed, and after a server was killed.

use std::process::Stdio;

use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::{until, within};
use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::postgres::{database_with_account, with_database};
use crate::several::{Fleet, place, states};

const ANYWHERE: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// What `fedecks-cloud node list` says that each server does.
async fn what_each_does(lister: &CloudProgram) -> Vec<String> {
    let listed = lister.run(&["node", "list"], "").await;
    let state = |line: &str| line.split('\t').nth(1).unwrap().to_owned();
    let mut states: Vec<_> = listed.lines().map(state).collect();
    states.sort_unstable();
    states
}

/// Kills it, and starts it again at another port: it serves without having been on standby.
async fn kill_and_start_again(server: &mut CloudProcess) {
    server.kill().await;
    server.start_at(([127, 0, 0, 1], 0).into()).await;
    assert!(!server.log().contains("on standby"), "{}", server.log());
}

#[tokio::test]
async fn a_start_that_fails_leaves_no_lease() {
    let Some((_postgres, _, program)) = database_with_account().await else { return };
    // Found before it has the lease.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = program.fails(&["serve", "--listen", &address], 1).await;
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
    assert_eq!(what_each_does(&program).await, [""; 0]);

    // Found with the lease.
    let error = program.fails(&["serve", "--ready-file", "missing/ready"], 1).await;
    assert!(error.contains("cannot write missing/ready"), "{error}");
    assert_eq!(what_each_does(&program).await, ["ended"]);
    let mut server = program.serve(&[]).await;
    assert!(!server.log().contains("on standby"), "{}", server.log());

    // Stopped at once by the second signal, while a device that does not answer delays the first.
    let _device = RawDevice::login(server.address, "nerves-1").await;
    server.signal(Signal::SIGTERM);
    server.logs("stopping").await;
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().await, Some(1), "{}", server.log());
    assert_eq!(what_each_does(&server.program).await, ["ended"]);
}

#[tokio::test]
async fn a_start_that_cannot_join_the_others_leaves_no_lease() {
    let Some((_postgres, url, _program)) = database_with_account().await else { return };
    let program = with_database(&url)
        .variable("FEDECKS_CLUSTER_NATS", "nats://127.0.0.1:1")
        .variable("FEDECKS_CLUSTER_NATS_USER", "fedecks")
        .variable("FEDECKS_CLUSTER_NATS_PASSWORD_FILE", "missing");
    let error = program.fails(&["serve"], 78).await;
    assert!(error.contains("serves with others"), "it had a lease: {error}");
    assert!(error.contains("missing"), "{error}");
    assert_eq!(what_each_does(&program).await, ["ended"]);
}

#[tokio::test]
async fn a_start_waits_while_the_database_is_busy() {
    let Some((postgres, _, program)) = database_with_account().await else { return };
    let sql = |statement| Command::from(postgres.command_for("fedecks", statement));
    let lock = "BEGIN; LOCK TABLE nodes; SELECT pg_sleep(600)";
    let _lock = sql(lock).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let of_lock = "SELECT pid FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock'
        AND relation = 'nodes'::regclass";
    until(async || {
        let found = within(sql(of_lock).output()).await.unwrap();
        String::from_utf8_lossy(&found.stdout).contains("(1 row)").then_some(())
    })
    .await;
    let mut server = program.stand_by(&[]);
    server.logs("cannot ask for the lease, trying again").await;
    let end = format!("SELECT pg_terminate_backend(pid) FROM ({of_lock}) AS it");
    assert!(within(sql(&end).output()).await.unwrap().status.success());
    server.listens_at_last().await;
}

#[tokio::test]
async fn a_server_that_was_killed_serves_again_at_once() {
    let Some((_postgres, url, program)) = database_with_account().await else { return };
    let mut server = program.serve(&[]).await;
    let token = server.token("all", &["--role", "read"]).await;
    kill_and_start_again(&mut server).await;
    assert_eq!(what_each_does(&server.program).await, ["serves"]);
    // It writes, too.
    server.revoke("all", &token).await;

    let error = server.program.fails(&[&["serve"], &ANYWHERE[..]].concat(), 75).await;
    assert!(error.contains("node.lock is locked by another server"), "{error}");

    // The same with another one on standby.
    let on_standby = "another server serves: this one is on standby";
    let mut other = with_database(&url).stand_by(&ANYWHERE);
    other.logs(on_standby).await;
    kill_and_start_again(&mut server).await;
    assert_eq!(what_each_does(&server.program).await, ["serves", "waits"]);
    // That one is the same server when it comes back, too.
    other.kill().await;
    other.spawn_again(&ANYWHERE);
    other.logs(on_standby).await;
    assert_eq!(what_each_does(&server.program).await, ["serves", "waits"]);
}

#[tokio::test]
async fn a_server_that_was_killed_joins_the_others_again_at_once() {
    let Some(fleet) = Fleet::start().await else { return };
    let mut one = fleet.server("one", "").await;
    let mut two = fleet.server("two", "").await;
    assert_eq!(states(&two).await, ["one leads", "two serves"]);
    // It has one lease, and the other server leads.
    kill_and_start_again(&mut one).await;
    assert_eq!(states(&two).await, ["one serves", "two leads"]);
    kill_and_start_again(&mut two).await;
    assert_eq!(states(&one).await, ["one leads", "two serves"]);
    for (server, leads) in [(&one, true), (&two, false)] {
        let knows = async || (place(server).await["leads"] == leads).then_some(());
        until(knows).await;
    }
}
