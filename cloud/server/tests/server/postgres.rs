//! A server whose store is in a PostgreSQL database.

use fedecks_device::Event;
use fedecks_device::deliveries::{Deliveries, Lane};
use fedecks_testing::cloud_process::CloudProgram;
use fedecks_testing::device::Device;
use fedecks_testing::http::Http;
use fedecks_testing::postgres::PostgresServer;
use fedecks_testing::wait::{until, within};
use fedecks_testing::{PASSWORD, USER};
use http::StatusCode;
use nix::sys::signal::Signal;

use crate::support::PROGRAM;

const MESSAGES: &str = "/api/v1/devices/nerves-1/messages";

/// The program with the database of this URL, and its password in a file.
pub(crate) fn with_database(url: &str) -> CloudProgram {
    program(url, Some(PostgresServer::PASSWORD))
}

/// A database with a store in which there is an account, its URL, and the program with it.
pub(crate) async fn database_with_account() -> Option<(PostgresServer, String, CloudProgram)> {
    let postgres = PostgresServer::start()?;
    let url = postgres.database("fedecks");
    let program = with_database(&url);
    program.run(&["store", "init"], "").await;
    program.add_account(USER, PASSWORD).await;
    Some((postgres, url, program))
}

fn program(url: &str, password: Option<&str>) -> CloudProgram {
    let file = password.map_or("", |_| "store_password_file = \"password\"\n");
    let program = CloudProgram::configured(PROGRAM, &format!("store = {url:?}\n{file}"));
    if let Some(password) = password {
        std::fs::write(program.folder.path().join("password"), format!("{password}\n")).unwrap();
    }
    program
}

/// Keeps a message for the device.
async fn keep(http: &Http, text: &str) {
    let answer = http.post(&format!("{MESSAGES}?keep=true"), format!("{text:?}")).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
}

async fn receive(deliveries: &mut Deliveries, text: &str) {
    let delivery = within(deliveries.next()).await.unwrap();
    assert_eq!((delivery.parse(), delivery.redelivered()), (Ok(text.to_owned()), false));
    delivery.ack();
}

#[tokio::test]
async fn a_server_keeps_everything_in_a_database() {
    let Some((_postgres, _, program)) = database_with_account().await else { return };
    let mut server = program.serve(&[]).await;
    let url = format!("ws://{}", server.address);
    let mut device =
        Device::start_with(&url, "nerves-1", |builder| builder.wait_for_consumer(true)).await;
    device.login().await;
    let token = server.token("all", &["--role", "read", "--role", "send"]).await;
    let http = server.http().token(&token).json();
    let mut messages = http.events("/api/v1/events?kind=message").await;
    within(device.client.send("hello")).await.unwrap();
    assert_eq!(messages.next().await["message"], "hello");
    let sent = http.post(MESSAGES, "\"hello, you\"").await;
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{sent:?}");
    device.until(|event| *event == Event::Message("hello, you".into())).await;

    // What is kept for a device that is away arrives once, and before what follows.
    device.client.shutdown().await;
    keep(&http, "while you were away").await;
    let mut device = device.restart().await;
    let mut deliveries = device.client.deliveries(Lane::Normal).unwrap();
    receive(&mut deliveries, "while you were away").await;
    keep(&http, "and now").await;
    receive(&mut deliveries, "and now").await;
    let all_delivered = async || {
        let listed = http.get(MESSAGES).await.json();
        let listed = listed["messages"].as_array().unwrap();
        (listed.len() == 2 && listed.iter().all(|it| it["state"] == "delivered")).then_some(())
    };
    until(all_delivered).await;

    // Of another process, it knows the same devices and tokens.
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().await, Some(0), "{}", server.log());
    device.until_lost().await;
    server.start_again().await;
    device.until_connected().await;
    let listed = server.program.run(&["device", "list"], "").await;
    assert!(listed.starts_with("nerves-1\t20"), "{listed}");
    http.until_status("/api/v1/token", StatusCode::OK).await;

    server.program.run(&["device", "revoke", "nerves-1"], "").await;
    device.until(|event| *event == Event::Unregistered).await;
    device.try_login(USER, PASSWORD).await.unwrap_err();
    let audited = server.program.run(&["audit", "list"], "").await;
    assert!(audited.contains("\tdevice-revoked\tnerves-1\t"), "{audited}");
    let log = server.log();
    assert!(log.contains("ready") && !log.contains("p@ss") && !log.contains("p%40ss"), "{log}");
}

#[tokio::test]
async fn an_empty_database_is_no_store_of_devices() {
    let Some(postgres) = PostgresServer::start() else { return };
    let url = postgres.database("fedecks");
    let configured = with_database(&url);
    for command in ["serve", "check-config"] {
        let empty = configured.fails(&[command], 78).await;
        assert!(empty.contains("is empty") && empty.contains("store init"), "{empty}");
    }
    let empty = configured.fails(&["device", "list"], 78).await;
    assert!(empty.contains("is empty"), "{empty}");
    for (command, instead) in [("backup", "pg_dump"), ("restore", "pg_restore")] {
        let explained = configured.fails(&[command, "copy"], 2).await;
        assert!(explained.contains(instead) && explained.contains(&url), "{explained}");
    }
    // One that generates its secrets has had no devices.
    let new = CloudProgram::new(PROGRAM)
        .variable("FEDECKS_STORE", &url)
        .variable("FEDECKS_STORE_PASSWORD_FILE", "password");
    let password = new.folder.path().join("password");
    std::fs::write(password, PostgresServer::PASSWORD).unwrap();
    let checked = new.run(&["check-config"], "").await;
    assert!(checked.contains(&format!("store: {url} (will be created)\n")), "{checked}");
    let server = new.serve(&["--listen", "127.0.0.1:0"]).await;
    assert!(server.log().contains("made a new store"), "{}", server.log());
    let twice = configured.fails(&["store", "init"], 1).await;
    assert!(twice.contains("already exists"), "{twice}");
    let checked = configured.run(&["check-config"], "").await;
    assert!(checked.contains(&format!("store: {url}\n")), "{checked}");
}

#[tokio::test]
async fn a_wrong_database_is_explained_without_its_password() {
    let Some(postgres) = PostgresServer::start() else { return };
    let url = postgres.database("fedecks");
    let address = url.split_once('@').unwrap().1;
    let with = |user: &str, rest: &str| format!("postgres://{user}@{rest}");
    let right = Some(PostgresServer::PASSWORD);
    for (url, password, status, problem) in [
        (&*url, Some("sesame"), 1, "password authentication failed for user"),
        (&url, None, 1, "password missing"),
        (&*with("fedecks:sesame", address), None, 1, "password authentication failed for user"),
        (&*postgres.url("sea"), right, 1, "database \"sea\" does not exist"),
        (&*with("fedecks:sesame", "127.0.0.1:1/fedecks"), None, 1, "Connection refused"),
        (&*with("fedecks:sesame", address), right, 78, "set only one of them"),
        (&*with("fedecks:se@same", address), None, 78, "store: an @ in the user or the password"),
        (&*with("fedecks:sesame", "host:port/x"), None, 78, "store: invalid"),
        (&format!("{url}?sslmode=prefer"), right, 78, "store: sslmode is disable, require or"),
        ("fedecks.sqlite", right, 78, "store_password_file: store is not the URL of a database"),
        (&url, Some(""), 78, "is empty"),
    ] {
        let program = program(url, password);
        for command in ["serve", "check-config"] {
            let output = program.output(&[command], "").await;
            let [said, printed] =
                [output.stderr, output.stdout].map(|text| String::from_utf8(text).unwrap());
            assert_eq!(output.status.code(), Some(status), "{command} {url}: {said}");
            assert!(said.contains(problem), "{command} {url}: {said}");
            let all = format!("{said}{printed}");
            assert!(!["same", "p@ss", "p%40ss"].iter().any(|it| all.contains(it)), "{all}");
        }
    }
    let program = program(&url, right);
    std::fs::remove_file(program.folder.path().join("password")).unwrap();
    let missing = program.fails(&["device", "list"], 78).await;
    assert!(missing.contains("store_password_file: cannot read password"), "{missing}");
}
