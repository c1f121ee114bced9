//! A server whose store is moved from its file to a PostgreSQL database.

use std::process::Stdio;
use std::time::Duration;

use fedecks_device::deliveries::Lane;
use fedecks_device::kept::{Keep, Settled};
use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::device::Device;
use fedecks_testing::postgres::PostgresServer;
use fedecks_testing::wait::within;
use fedecks_testing::{PASSWORD, USER};
use http::StatusCode;
use nix::sys::signal::Signal;

use crate::support::PROGRAM;
use crate::webhooks::Receiver;

const DEVICE: &str = "/api/v1/devices/nerves-1";

/// Writes the password of the database, and the arguments to move to it.
fn migrate<'a>(program: &CloudProgram, url: &'a str) -> [&'a str; 5] {
    let file = program.folder.path().join("password");
    std::fs::write(file, PostgresServer::PASSWORD).unwrap();
    ["migrate", "--to", url, "--password-file", "password"]
}

/// Has the server use the database from its next start on.
fn use_database(program: &CloudProgram, url: &str) {
    let file = program.folder.path().join("cloud.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let store = format!("store = {url:?}\nstore_password_file = \"password\"\n");
    std::fs::write(file, format!("{store}{before}")).unwrap();
}

/// Starts to move, and kills that after a while, at points that are different each time.
async fn interrupt(program: &CloudProgram, arguments: &[&str]) {
    for after in [0, 30, 60, 100, 150, 220, 300, 450] {
        let mut command = program.command(arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(after)).await;
        child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn devices_and_webhooks_continue_in_a_database() {
    let Some(postgres) = PostgresServer::start() else { return };
    let url = postgres.database("fedecks");
    let mut receiver = Receiver::start().await;
    receiver.answer(503);
    let lines = receiver.configuration("kinds = [\"message\"]\n");
    let mut cloud = CloudProcess::start(PROGRAM, &lines).await;
    let token = cloud.token("all", &["--role", "read", "--role", "send"]).await;
    let http = cloud.http().token(&token).json();
    let address = format!("ws://{}", cloud.address);
    let mut device =
        Device::start_with(&address, "nerves-1", |builder| builder.wait_for_consumer(true)).await;
    device.login().await;
    let mut ids = Vec::new();
    for number in 0..3 {
        let kept =
            device.client.send_kept(&format!("up {number}"), Keep::in_memory()).await.unwrap();
        ids.push(kept.id().to_string());
        assert_eq!(kept.settled().await, Ok(Settled::Delivered));
    }
    device.client.shutdown().await;
    for number in 0..3 {
        let body = format!("\"down {number}\"");
        let answer = http.post(&format!("{DEVICE}/messages?keep=true"), body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    }

    let arguments = migrate(&cloud.program, &url);
    let in_use = cloud.program.fails(&arguments, 75).await;
    assert!(in_use.contains("in use by another server"), "{in_use}");
    let planned = cloud.program.output(&[&arguments[..], &["--dry-run"]].concat(), "").await;
    let (plan, notes) = (String::from_utf8(planned.stdout), String::from_utf8(planned.stderr));
    let (plan, notes) = (plan.unwrap(), notes.unwrap());
    assert!(plan.contains("messages for devices\t3 rows\t"), "{plan}");
    assert!(plan.contains(&format!("can be moved to {url}")), "{plan}");
    assert!(notes.contains("a server uses the file"), "{notes}");
    cloud.signal(Signal::SIGTERM);
    assert_eq!(cloud.ended().await, Some(0), "{}", cloud.log());

    interrupt(&cloud.program, &arguments).await;
    let moved = cloud.program.run(&arguments, "").await;
    assert!(moved.contains(&format!("moved to {url}")), "{moved}");
    let moved = cloud.program.run(&arguments, "").await;
    assert!(moved.contains("was moved to"), "{moved}");
    for command in ["serve", "check-config", "account"] {
        let arguments: &[&str] =
            if command == "account" { &["account", "list"] } else { &[command] };
        let retired = cloud.program.fails(arguments, 78).await;
        assert!(retired.contains(&url) && retired.contains("--undo-retirement"), "{retired}");
    }

    use_database(&cloud.program, &url);
    receiver.forget();
    receiver.answer(204);
    let mut device = device.restart().await;
    let later = device.client.send_kept("up 3", Keep::in_memory()).await.unwrap();
    ids.push(later.id().to_string());
    cloud.start_again().await;
    device.until_connected().await;
    assert_eq!(later.settled().await, Ok(Settled::Delivered));
    let mut deliveries = device.client.deliveries(Lane::Normal).unwrap();
    for number in 0..3 {
        let delivery = within(deliveries.next()).await.unwrap();
        let expected = (Ok(format!("down {number}")), false);
        assert_eq!((delivery.parse::<String>(), delivery.redelivered()), expected);
        delivery.ack();
    }
    let listed = http.get("/api/v1/messages").await.json();
    let listed: Vec<_> =
        listed["messages"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
    assert_eq!(listed, ids);
    let mut delivered = Vec::new();
    while delivered.len() < ids.len() {
        delivered.push(receiver.next().await.json()["kept"]["id"].clone());
    }
    assert_eq!(delivered, ids);
    let audited = cloud.program.run(&["audit", "list"], "").await;
    assert!(audited.contains("\taccount-added\t"), "{audited}");
}

#[tokio::test]
async fn a_wrong_database_is_refused_and_nothing_moved() {
    let Some(postgres) = PostgresServer::start() else { return };
    let url = postgres.database("fedecks");
    let program = CloudProgram::configured(PROGRAM, "");
    let missing = program.fails(&migrate(&program, &url), 78).await;
    assert!(missing.contains("no store at"), "{missing}");
    program.add_account(USER, PASSWORD).await;
    let fails = async |url: &str, code: i32, why: &str| {
        let error = program.fails(&migrate(&program, url), code).await;
        assert!(error.contains(why) && !error.contains("p@ss"), "{error}");
    };
    fails("mysql://host/x", 2, "--to: the URL does not begin with postgres://").await;
    fails("postgres://me:secret@host/x", 2, "--password-file: the URL has a password").await;
    fails(&postgres.url("missing"), 1, "run the same command again").await;
    let other = crate::postgres::with_database(&url);
    other.run(&["store", "init"], "").await;
    fails(&url, 1, "`migrate` needs an empty database").await;
    let wrong = other.fails(&["migrate", "--to", &url], 2).await;
    assert!(wrong.contains("is for a store in a file"), "{wrong}");
    let undone = program.run(&["migrate", "--undo-retirement"], "").await;
    assert!(undone.contains("nothing to undo"), "{undone}");

    let empty = postgres.database("empty");
    program.run(&migrate(&program, &empty), "").await;
    let undone = program.run(&["migrate", "--undo-retirement"], "").await;
    assert!(undone.contains("is the store again") && undone.contains(&empty), "{undone}");
    assert!(program.run(&["account", "list"], "").await.contains(USER));
}
