use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use fedecks_protocol::Term;

use super::desk::{Desk, Ended, command, credentials, ended, run_on};
use crate::support::bus::{Bus, User};
use crate::support::cloud::{By, Cloud, PASSWORD, Seen};
use crate::support::fedecks;
use crate::support::fedecksd::{DEVICE, Setup};

#[tokio::test]
async fn from_the_login_to_the_logout() {
    let Some(mut desk) = Desk::unregistered().await else { return };
    let status = desk.run(&["status"]).await.is(0).stdout;
    assert!(status.contains("unregistered") && status.contains("fedecks login"), "{status}");

    let login = desk.give(&["login", "--stdin"], credentials(PASSWORD).as_bytes()).await.is(0);
    assert_eq!(login.stdout, "logged in\n");
    assert_eq!(desk.cloud.next().await, Seen::Connected(By::Credentials));

    desk.run(&["send", r#"{"temperature":21.5,"at":[{"$bytes":"aGk="},-7]}"#]).await.is(0);
    let at = Term::List(vec![Term::Bytes(b"hi".to_vec()), Term::Int(-7)]);
    let Seen::Message(message) = desk.cloud.next().await else { panic!("no message") };
    assert_eq!(message.get("temperature"), Some(&Term::Float(21.5)));
    assert_eq!(message.get("at"), Some(&at));
    desk.give(&["send", "-"], br#"{"$tuple":[1,null]}"#).await.is(0);
    let pair = Term::Tuple(vec![Term::Int(1), Term::Nil]);
    assert_eq!(desk.cloud.next().await, Seen::Message(pair));
    desk.run(&["send", "-1"]).await.is(0);
    assert_eq!(desk.cloud.next().await, Seen::Message(Term::Int(-1)));

    desk.give(&["send-raw", "-"], &[0, 255, 10]).await.is(0);
    assert_eq!(desk.cloud.next().await, Seen::Raw(vec![0, 255, 10]));
    let file = desk.setup.folder.path().join("raw");
    std::fs::write(&file, "from a file").unwrap();
    desk.run(&["send-raw", file.to_str().unwrap()]).await.is(0);
    assert_eq!(desk.cloud.next().await, Seen::Raw(b"from a file".to_vec()));

    desk.run(&["reconnect"]).await.is(0);
    assert_eq!(desk.cloud.next().await, Seen::Connected(By::Token));

    desk.run(&["logout"]).await.is(0);
    desk.run(&["status", "--wait", "unregistered"]).await.is(0);
    desk.run(&["send", "1"]).await.fails(7, "see: fedecks status");
    desk.run(&["reconnect"]).await.fails(7, "see: fedecks login");
}

#[tokio::test]
async fn the_status_tells_everything_to_people_and_to_programs() {
    let Some(desk) = Desk::connected().await else { return };
    let json = desk.run(&["status", "--json"]).await.is(0).stdout;
    assert_eq!(json.lines().count(), 1);
    let health: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(health["state"], "connected");
    assert_eq!(health["device_id"], DEVICE);
    assert_eq!(health["attempts"], 1);
    assert_eq!(health["clock"]["state"], "plausible");
    assert!(health["token"]["expires_at"].as_u64().unwrap() > 1_700_000_000, "{json}");

    let text = desk.run(&["status"]).await.is(0).stdout;
    assert!(text.starts_with(&format!("{DEVICE}\n  state         connected for ")), "{text}");
    for label in ["attempts", "token", "store", "clock", "traffic", "cloud", "version"] {
        assert!(text.lines().any(|line| line.trim_start().starts_with(label)), "{label}: {text}");
    }
    assert!(!text.contains('\x1b'), "colours in a pipe: {text:?}");
    // Whatever the service tells has a form for people: no line falls back to JSON.
    assert!(!text.contains('{'), "{text}");
}

#[tokio::test]
async fn a_state_is_waited_for_also_before_the_service_runs() {
    let Some(mut desk) = Desk::unregistered().await else { return };
    let waiting = command(&desk.bus.address(), &["status", "--wait", "connected", "--json"]);
    let waiting = { waiting }.spawn().unwrap();
    desk.log_in().await;
    assert!(ended(waiting).await.is(0).stdout.contains(r#""state":"connected""#));
    let brief = ["status", "--wait", "offline", "--timeout", "100ms"];
    desk.run(&brief).await.fails(6, "still connected and not offline after 0.1 s");

    let Desk { bus, mut cloud, setup, service } = desk;
    service.kill().await;
    run_on(&bus.address(), &brief).await.fails(3, "fedecksd is not running");
    let waiting = command(&bus.address(), &["status", "--wait", "connected"]).spawn().unwrap();
    let _service = setup.start();
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    ended(waiting).await.is(0);
}

#[tokio::test]
async fn what_is_wrong_is_said_with_a_hint_and_an_exit_status() {
    let nowhere = "unix:path=/nonexistent/bus";
    run_on(nowhere, &["status"])
        .await
        .fails(3, "no system bus: unix:path=/nonexistent/bus: No such file");
    run_on("nonsense", &["status"]).await.fails(3, "no system bus");
    let Some(bus) = Bus::start().await else { return };
    for arguments in [
        &["status"][..],
        &["login", "--stdin"],
        &["logout"],
        &["send", "1"],
        &["send-raw", "/dev/null"],
        &["reconnect"],
        &["listen"],
        &["events"],
    ] {
        let ended = run_on(&bus.address(), arguments).await;
        ended.fails(3, "fedecksd is not running; see: systemctl status fedecksd");
    }
    drop(bus);

    let Some(desk) = Desk::unregistered().await else { return };
    let rejected = desk.give(&["login", "--stdin"], credentials("wrong-secret").as_bytes()).await;
    assert!(!rejected.stderr.contains("wrong-secret"));
    rejected.fails(5, "refused the login");
    desk.run(&["login"]).await.fails(2, "use --stdin");
    desk.give(&["login", "--stdin"], b"[1]").await.fails(2, "a JSON object, not a list");
    desk.give(&["login", "--stdin"], b"{\n\"a\":}").await.fails(2, "at line 2 column 5");
    let reserved = desk.give(&["login", "--stdin"], br#"{"fedecks-token":"x"}"#).await;
    reserved.fails(2, "fedecks-token");
    desk.run(&["send", "{"]).await.fails(2, "the argument is not valid JSON: EOF");
    desk.run(&["send-raw", "/nonexistent"]).await.fails(2, "/nonexistent: No such file");
    desk.run(&["snd", "1"]).await.fails(2, "'send'");
    desk.run(&["status", "--wait", "conected"]).await.fails(2, "'connected'");
    desk.run(&["status", "--wait", "connected", "--timeout", "5"]).await.fails(2, "write \"5s\"");
    desk.run(&["listen", "--count", "0"]).await.fails(2, "--count");
}

#[tokio::test]
async fn too_big_is_refused_and_the_connection_stays() {
    let Some(mut desk) = Desk::connected().await else { return };
    desk.give(&["send-raw", "-"], &vec![7; 2 * 1024 * 1024]).await.fails(1, "");
    desk.give(&["send-raw", "-"], &vec![7; 17 * 1024 * 1024]).await.fails(2, "more than 16777216");
    let deep = "[".repeat(60) + &"]".repeat(60);
    desk.run(&["send", &deep]).await.fails(2, "too deep");
    desk.run(&["send", "1"]).await.is(0);
    assert_eq!(desk.cloud.next().await, Seen::Message(Term::Int(1)));
}

#[tokio::test]
async fn a_login_without_an_answer_ends_in_time_and_goes_on() {
    let Some(bus) = Bus::start().await else { return };
    let mut cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let setup = Setup::new(&format!("ws://{}", cloud.address))
        .variable("DBUS_SYSTEM_BUS_ADDRESS", bus.address());
    let address = cloud.stop().await;
    let service = setup.start();
    cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let mut desk = Desk { bus, cloud, setup, service };
    desk.run(&["status", "--wait", "unregistered"]).await.is(0);
    let begun = Instant::now();
    let login = desk.give(&["login", "--stdin"], credentials(PASSWORD).as_bytes()).await;
    login.fails(6, "");
    assert!((19..25).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    desk.cloud = Cloud::start(address).await;
    assert_eq!(desk.cloud.next().await, Seen::Connected(By::Credentials));
}

#[tokio::test]
async fn a_stranger_is_told_how_to_be_let_in() {
    let Some(mut desk) = Desk::connected().await else { return };
    // Where the tests were built others may not go.
    let program = desk.setup.folder.path().join("fedecks");
    std::fs::copy(fedecks(), &program).unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(desk.setup.folder.path(), open).unwrap();
    let program = program.to_str().unwrap();
    for arguments in [&["status"][..], &["send", "1"], &["listen"], &["events"], &["logout"]] {
        let words = [&[program], arguments].concat();
        let refused = Ended::from(desk.bus.run_as(User::Stranger, &words).await);
        refused.fails(4, "run as root or as a member of the group fedecks");
    }
    let member = Ended::from(desk.bus.run_as(User::Member, &[program, "send", "1"]).await);
    member.is(0);
    assert_eq!(desk.cloud.next().await, Seen::Message(Term::Int(1)));
}
