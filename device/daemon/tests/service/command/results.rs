//! Output, errors and exit statuses of the commands that end by themselves.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use fedecks_protocol::Term;

use super::fedecks::{Ended, command, credentials, ended, run_on, run_with_on};
use crate::dbus;
use crate::late_token::with_late_token;
use crate::support::bus::{Bus, User};
use crate::support::fedecksd::{DEVICE, is_anywhere_in};
use crate::support::scene::Scene;
use crate::support::{By, PASSWORD, Seen, cloud_at, fedecks};

#[tokio::test]
async fn every_command_works_from_the_login_to_the_logout() {
    let Some(mut scene) = Scene::unregistered().await else { return };
    let status = scene.run(&["status"]).await.succeeds().stdout;
    assert!(status.contains("unregistered") && status.contains("fedecks login"), "{status}");

    let login = scene.run_with(&["login", "--stdin"], credentials(PASSWORD)).await.succeeds();
    assert_eq!(login.stdout, "logged in\n");
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));

    scene.run(&["send", r#"{"temperature":21.5,"at":[{"$bytes":"aGk="},-7]}"#]).await.succeeds();
    let at = Term::List(vec![Term::Bytes(b"hi".to_vec()), Term::Int(-7)]);
    let Seen::Message(message) = scene.cloud.next().await else { panic!("no message") };
    assert_eq!(message.get("temperature"), Some(&Term::Float(21.5)));
    assert_eq!(message.get("at"), Some(&at));
    scene.run_with(&["send", "-"], r#"{"$tuple":[1,null]}"#).await.succeeds();
    let pair = Term::Tuple(vec![Term::Int(1), Term::Nil]);
    assert_eq!(scene.cloud.next().await, Seen::Message(pair));
    scene.run(&["send", "-1"]).await.succeeds();
    assert_eq!(scene.cloud.next().await, Seen::Message(Term::Int(-1)));
    let reference = Term::Map(vec![(Term::from("$ref"), Term::List(vec![Term::Int(1)]))]);
    scene.run(&["send", "--literal", r#"{"$ref":[1]}"#]).await.succeeds();
    assert_eq!(scene.cloud.next().await, Seen::Message(reference.clone()));
    scene.run_with(&["send", "-", "--literal"], r#"{"$ref":[1]}"#).await.succeeds();
    assert_eq!(scene.cloud.next().await, Seen::Message(reference.clone()));
    // As `listen` and the API show it.
    scene.run(&["send", r#"{"$map":[["$ref",[1]]]}"#]).await.succeeds();
    assert_eq!(scene.cloud.next().await, Seen::Message(reference));

    scene.run_with(&["send-raw", "-"], [0, 255, 10]).await.succeeds();
    assert_eq!(scene.cloud.next().await, Seen::Raw(vec![0, 255, 10]));
    let file = scene.setup.folder.path().join("raw");
    std::fs::write(&file, "from a file").unwrap();
    scene.run(&["send-raw", file.to_str().unwrap()]).await.succeeds();
    assert_eq!(scene.cloud.next().await, Seen::Raw(b"from a file".to_vec()));

    let reconnecting = scene.run(&["reconnect"]).await.succeeds();
    assert_eq!(reconnecting.stdout, "reconnecting\n");
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Token));

    let logout = scene.run(&["logout"]).await.succeeds();
    assert_eq!(logout.stdout, "logged out, the token is deleted\n");
    scene.run(&["status", "--wait", "unregistered"]).await.succeeds();
    scene.run(&["send", "1"]).await.fails(7, "see: fedecks status");
    scene.run(&["reconnect"]).await.fails(7, "see: fedecks login");
}

#[tokio::test]
async fn a_late_token_is_shown_until_a_login() {
    let late = |setup| with_late_token(setup).line("backoff_cap", "40s");
    let Some(mut scene) = Scene::start(late).await else { return };
    let wait = ["status", "--wait", "late"];
    let status = scene.run(&wait).await.succeeds().stdout;
    for text in ["late for ", "token late: login (fedecks login) or operator of the cloud needed"] {
        assert!(status.contains(text), "{status}");
    }
    let is_late = async |scene: &Scene| {
        let json = scene.run(&["status", "--json"]).await.succeeds().stdout;
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["token"]["is_late"].clone()
    };
    assert_eq!(is_late(&scene).await, true);
    scene.run(&["send", "1"]).await.fails(7, "see: fedecks status");

    let mut monitor = scene.bus.monitor(User::Member).await;
    scene.run(&["reconnect"]).await.succeeds();
    monitor.until("'State': <'late'>").await;

    let wrong = credentials("a-typing-mistake");
    scene.run_with(&["login", "--stdin"], wrong).await.fails(5, "not accepted");
    scene.run(&wait).await.succeeds();
    scene.run_with(&["login", "--stdin"], credentials(PASSWORD)).await.succeeds();
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));
    assert_eq!(is_late(&scene).await, false);
}

#[tokio::test]
async fn the_status_is_complete_as_text_and_as_json() {
    let Some(scene) = Scene::connected().await else { return };
    let json = scene.run(&["status", "--json"]).await.succeeds().stdout;
    assert_eq!(json.lines().count(), 1);
    let health: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(health["state"], "connected");
    assert_eq!(health["device_id"], DEVICE);
    assert_eq!(health["attempts"], 1);
    assert_eq!(health["clock"]["state"], "plausible");
    assert!(health["token"]["expires_at"].as_u64().unwrap() > 1_700_000_000, "{json}");

    let text = scene.run(&["status"]).await.succeeds().stdout;
    assert!(text.starts_with(&format!("{DEVICE}\n  state         connected for ")), "{text}");
    for label in ["attempts", "token", "store", "clock", "traffic", "cloud", "version"] {
        assert!(text.lines().any(|line| line.trim_start().starts_with(label)), "{label}: {text}");
    }
    assert!(!text.contains('\x1b'), "colours in a pipe: {text:?}");
    // A key that the command does not know falls back to JSON.
    assert!(!text.contains('{'), "{text}");
}

#[tokio::test]
async fn status_waits_for_a_state_even_before_the_service_runs() {
    let Some(mut scene) = Scene::unregistered().await else { return };
    let waiting = ["status", "--wait", "connected", "--json"];
    let waiting = command(&scene.bus.address(), &waiting).spawn().unwrap();
    scene.run_with(&["login", "--stdin"], credentials(PASSWORD)).await.succeeds();
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));
    assert!(ended(waiting).await.succeeds().stdout.contains(r#""state":"connected""#));
    scene.run(&["status", "--wait", "connected", "--timeout", "0s"]).await.succeeds();
    let brief = ["status", "--wait", "offline", "--timeout", "100ms"];
    scene.run(&brief).await.fails(6, "not offline after 0.1 s, but connected");

    let Scene { bus, mut cloud, setup, service } = scene;
    service.kill().await;
    run_on(&bus.address(), &brief).await.fails(3, "fedecksd is not running");
    let waiting = command(&bus.address(), &["status", "--wait", "connected"]).spawn().unwrap();
    let _service = setup.start();
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    ended(waiting).await.succeeds();
}

#[tokio::test]
async fn errors_have_a_hint_and_an_exit_status() {
    let missing = "no system bus: unix:path=/nonexistent/bus: No such file";
    run_on("unix:path=/nonexistent/bus", &["status"]).await.fails(3, missing);
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
        ended
            .fails(3, "fedecksd is not running; see the system log, or: systemctl status fedecksd");
    }
    drop(bus);

    let Some(scene) = Scene::unregistered().await else { return };
    let login = ["login", "--stdin"];
    let rejected = scene.run_with(&login, credentials("wrong-secret")).await;
    assert!(!rejected.stderr.contains("wrong-secret"));
    rejected.fails(5, "refused the login");
    for (input, text) in [
        ("[1]", "a JSON object, not a list"),
        ("{\n\"a\":}", "at line 2 column 5"),
        (r#"{"fedecks-token":"x"}"#, "fedecks-token"),
    ] {
        scene.run_with(&login, input).await.fails(2, text);
    }
    for (arguments, text) in [
        (&["login"][..], "use --stdin"),
        (&["send", "{"], "the argument is not valid JSON: EOF"),
        (&["send", r#"{"$ref":1}"#], "; --literal takes JSON as it is, without escapes"),
        (&["send", "--literal", r#"{"a":1,"a":2}"#], "the argument: duplicate key \"a\""),
        (&["send-raw", "/nonexistent"], "/nonexistent: No such file"),
        (&["snd", "1"], "'send'"),
        (&["status", "--wait", "conected"], "'connected'"),
        (&["status", "--wait", "connected", "--timeout", "5"], "write \"5s\""),
        (&["listen", "--count", "0"], "--count"),
    ] {
        scene.run(arguments).await.fails(2, text);
    }
}

#[tokio::test]
async fn a_message_too_big_is_refused_and_the_connection_stays() {
    let Some(mut scene) = Scene::connected().await else { return };
    scene.run_with(&["send-raw", "-"], vec![7; 2 * 1024 * 1024]).await.fails(1, "");
    let huge = vec![7; 17 * 1024 * 1024];
    scene.run_with(&["send-raw", "-"], huge).await.fails(2, "more than 16777216");
    let deep = ["[".repeat(60), "]".repeat(60)].concat();
    scene.run(&["send", &deep]).await.fails(2, "too deep");
    scene.run(&["send", "1"]).await.succeeds();
    assert_eq!(scene.cloud.next().await, Seen::Message(Term::Int(1)));
}

#[tokio::test]
async fn a_login_times_out_before_its_caller_and_continues() {
    let Some(scene) = Scene::unregistered().await else { return };
    let Scene { bus, cloud, setup, service: _service } = scene;
    let address = cloud.stop().await;
    let in_time = |start: Instant| (19..24).contains(&start.elapsed().as_secs());
    // gdbus waits for 25 s, like most others.
    let (start, arguments) = (Instant::now(), [&*dbus::credentials(PASSWORD)]);
    let error = dbus::call_error(&bus, User::Member, "Login", &arguments).await;
    assert!(in_time(start) && start.elapsed().as_secs() >= 20, "{:?}", start.elapsed());
    assert!(error.contains("org.fedecks.Device1.Error.Unreachable"), "{error}");
    assert!(error.contains("the login continues to wait for the cloud: "), "{error}");

    let start = Instant::now();
    let login = ["login", "--stdin"];
    run_with_on(&bus.address(), &login, credentials(PASSWORD)).await.fails(6, "");
    assert!(in_time(start), "{:?}", start.elapsed());
    let mut cloud = cloud_at(address).await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    assert!(!is_anywhere_in(setup.folder.path(), PASSWORD));
}

#[tokio::test]
async fn a_user_without_access_is_pointed_to_the_group() {
    let Some(mut scene) = Scene::connected().await else { return };
    // Other users cannot enter the build folder.
    let program = scene.setup.folder.path().join("fedecks");
    std::fs::copy(fedecks(), &program).unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(scene.setup.folder.path(), open).unwrap();
    let program = program.to_str().unwrap();
    for arguments in [&["status"][..], &["send", "1"], &["listen"], &["events"], &["logout"]] {
        let words = [&[program], arguments].concat();
        let refused = Ended::from(scene.bus.run_as(User::Stranger, &words).await);
        refused.fails(4, "run as root or as a member of the group fedecks");
    }
    let member = Ended::from(scene.bus.run_as(User::Member, &[program, "send", "1"]).await);
    member.succeeds();
    assert_eq!(scene.cloud.next().await, Seen::Message(Term::Int(1)));
}
