use std::time::{Duration, Instant};

use fedecks_dbus::{Device1Error, Device1Proxy, Dictionary, Variant};
use fedecks_device::Term;
use tokio::task::JoinSet;

use super::{Scene, busctl, complaint, credentials, gdbus, said};
use crate::support::bus::{Bus, User};
use crate::support::cloud::{By, Cloud, PASSWORD, Seen};
use crate::support::fedecksd::{DEVICE, Setup, is_anywhere_in};
use crate::support::within;

#[tokio::test]
async fn gdbus_logs_in_sends_nested_values_and_bytes_and_reconnects() {
    let Some(mut scene) = Scene::connected().await else { return };
    let (bus, cloud) = (&scene.bus, &mut scene.cloud);
    let text = |text: &str| Term::from(text);
    for (argument, expected) in [
        ("<'hello'>", text("hello")),
        ("<true>", Term::Bool(true)),
        ("<-7>", Term::Int(-7)),
        ("<uint64 18446744073709551615>", Term::Int(i128::from(u64::MAX))),
        ("<21.5>", Term::Float(21.5)),
        ("<b'ab'>", Term::Bytes(b"ab\0".to_vec())),
        ("<['a', 'b']>", Term::List(vec![text("a"), text("b")])),
        ("<(1, 'x')>", Term::Tuple(vec![Term::Int(1), text("x")])),
        ("<<<'deep'>>>", text("deep")),
        ("<@a{sv} {}>", Term::Map(vec![])),
        ("<{uint32 1: 'one'}>", Term::Map(vec![(Term::Int(1), text("one"))])),
        ("<(objectpath '/org/fedecks/term/nil', <''>)>", Term::Nil),
        (
            "<{'room': <'kitchen'>, 'readings': <[<21.5>, <(int64 3, true)>]>}>",
            Term::Map(vec![
                (text("room"), text("kitchen")),
                (
                    text("readings"),
                    Term::List(vec![
                        Term::Float(21.5),
                        Term::Tuple(vec![Term::Int(3), Term::Bool(true)]),
                    ]),
                ),
            ]),
        ),
    ] {
        assert_eq!(said(&gdbus(bus, User::Member, "Send", &[argument]).await), "()\n");
        assert_eq!(cloud.next().await, Seen::Message(expected), "{argument}");
    }
    said(&gdbus(bus, User::Member, "SendRaw", &["[0x00, 0xff]"]).await);
    assert_eq!(cloud.next().await, Seen::Raw(vec![0, 255]));
    said(&gdbus(bus, User::Member, "Reconnect", &[]).await);
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    said(&gdbus(bus, User::Member, "Logout", &[]).await);
    assert_eq!(said(&busctl(bus, "get-property", &["State"]).await), "s \"unregistered\"\n");
}

#[tokio::test]
async fn messages_to_a_silent_cloud_follow_each_other_at_once() {
    let Some(mut scene) = Scene::connected().await else { return };
    let connection = scene.bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    let begun = Instant::now();
    for number in 0..50 {
        device.send(&Variant::new(Term::Int(number)).unwrap()).await.unwrap();
        assert_eq!(scene.cloud.next().await, Seen::Message(Term::Int(number)));
    }
    // Much less than the ping interval, at which something comes in any case.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_deepest_values_that_we_form_are_taken_by_the_bus() {
    let Some(mut scene) = Scene::connected().await else { return };
    let connection = scene.bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    type Wrap = fn(Term) -> Term;
    let wraps: [(usize, Wrap); 5] = [
        (31, |term| Term::List(vec![term])),
        (31, |term| Term::Tuple(vec![term])),
        (21, |term| Term::Map(vec![(Term::from("k"), term)])),
        (10, |term| Term::Map(vec![(Term::Int(1), term)])),
        // More values than a structure has.
        (15, |term| Term::Tuple(vec![Term::Int(0); 299].into_iter().chain([term]).collect())),
    ];
    for (expected, wrap) in wraps {
        let (mut term, mut levels) = (Term::Int(1), 0);
        while Variant::new(wrap(term.clone())).is_ok() {
            (term, levels) = (wrap(term), levels + 1);
        }
        assert_eq!(levels, expected);
        device.send(&Variant::new(term.clone()).unwrap()).await.unwrap();
        assert_eq!(scene.cloud.next().await, Seen::Message(term));
    }
}

#[tokio::test]
async fn busctl_sends_reads_the_properties_and_the_health() {
    let Some(mut scene) = Scene::connected().await else { return };
    let (bus, cloud) = (&scene.bus, &mut scene.cloud);
    said(&busctl(bus, "call", &["Send", "v", "a{sv}", "1", "a", "ai", "2", "1", "2"]).await);
    let list = Term::List(vec![Term::Int(1), Term::Int(2)]);
    assert_eq!(cloud.next().await, Seen::Message(Term::Map(vec![(Term::from("a"), list)])));
    said(&busctl(bus, "call", &["SendRaw", "ay", "3", "1", "2", "3"]).await);
    assert_eq!(cloud.next().await, Seen::Raw(vec![1, 2, 3]));

    let properties = ["State", "DeviceId", "Url", "NetworkState", "LastError", "Version"];
    let values = said(&busctl(bus, "get-property", &properties).await);
    let url = format!("ws://{}/fedecks/websocket", cloud.address);
    let version = env!("CARGO_PKG_VERSION");
    let expected = ["connected", DEVICE, &url, "unknown", "", version];
    assert_eq!(values, expected.map(|value| format!("s \"{value}\"\n")).concat());
    let since = said(&busctl(bus, "get-property", &["ConnectedSince"]).await);
    assert!(since.strip_prefix("t ").unwrap().trim().parse::<u64>().unwrap() > 1_700_000_000);

    let health = said(&busctl(bus, "call", &["GetHealth"]).await);
    assert!(health.contains("\"state\" s \"connected\""), "{health}");
    assert!(health.contains("\"attempts\" x 1"), "{health}");
    assert!(!health.contains("/org/fedecks/term"), "nothing is left out: {health}");
}

#[tokio::test]
async fn every_failure_has_a_name_and_says_what_is_wrong() {
    let Some(mut scene) = Scene::start().await else { return };
    let bus = &scene.bus;
    let name = |name: &str| format!("GDBus.Error:org.fedecks.Device1.Error.{name}: ");
    let failure = async |method: &str, argument: &[&str]| {
        complaint(&gdbus(bus, User::Member, method, argument).await)
    };

    let error = failure("Send", &["<1>"]).await;
    assert!(
        error.contains(&format!("{}not connected to the cloud", name("NotConnected"))),
        "{error}"
    );
    let error = failure("Reconnect", &[]).await;
    assert!(
        error.contains(&format!("{}the device is not registered", name("NotRegistered"))),
        "{error}"
    );
    let error = failure("Login", &[&credentials("wrong")]).await;
    assert!(error.contains(&format!("{}the cloud refused the login", name("Rejected"))), "{error}");
    let error = failure("Login", &["{'fedecks-token': <'x'>}"]).await;
    assert!(
        error
            .contains(&format!("{}the key \"fedecks-token\" is reserved", name("InvalidArgument"))),
        "{error}"
    );
    let error = failure("Send", &["<(objectpath '/org/fedecks/term/int', <'twelve'>)>"]).await;
    assert!(error.contains(&format!("{}the structure (ov)", name("InvalidArgument"))), "{error}");

    said(&gdbus(bus, User::Member, "Login", &[&credentials(PASSWORD)]).await);
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));
    // More than a command line holds.
    let connection = bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    let raw = device.send_raw(&vec![0; 2 * 1024 * 1024]).await;
    assert!(matches!(&raw, Err(Device1Error::TooBig(text)) if text.contains("1048576")), "{raw:?}");
    let big = Variant::new(Term::Bytes(vec![0; 2 * 1024 * 1024])).unwrap();
    let big = device.send(&big).await;
    assert!(matches!(&big, Err(Device1Error::TooBig(text)) if text.contains("1048576")), "{big:?}");
    // It lives on.
    device.send(&Variant::new(Term::Nil).unwrap()).await.unwrap();
    assert_eq!(scene.cloud.next().await, Seen::Message(Term::Nil));
}

#[tokio::test]
async fn a_login_answers_before_the_caller_gives_up_and_goes_on_until_the_cloud_is_there() {
    let Some(bus) = Bus::start().await else { return };
    // A port that was free a moment ago, for a cloud that comes later.
    let address = Cloud::start("127.0.0.1:0".parse().unwrap()).await.stop().await;
    let setup = Setup::new(&format!("ws://{address}")).on(&bus);
    let mut service = setup.start();
    service.says(super::THERE).await;
    let begun = Instant::now();
    // gdbus waits for 25 s, as most others do.
    let login = gdbus(&bus, User::Member, "Login", &[&credentials(PASSWORD)]).await;
    let took = begun.elapsed();
    let error = complaint(&login);
    assert!(error.contains("org.fedecks.Device1.Error.Unreachable"), "{error}");
    assert!(error.contains("the login goes on waiting for the cloud: "), "{error}");
    assert!((Duration::from_secs(20)..Duration::from_secs(24)).contains(&took), "{took:?}");
    let mut cloud = Cloud::start(address).await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    assert!(!is_anywhere_in(setup.folder.path(), PASSWORD));
}

#[tokio::test]
async fn a_password_is_in_no_line_of_the_log_at_any_level() {
    let Some(bus) = Bus::start().await else { return };
    let mut cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let setup = Setup::new(&format!("ws://{}", cloud.address)).on(&bus).line("log", "trace");
    let mut service = setup.start();
    service.says(super::THERE).await;
    said(&gdbus(&bus, User::Member, "Login", &[&credentials(PASSWORD)]).await);
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    service.says("the token is stored").await;
    assert!(service.said().contains("member: MemberName(\"Login\")"), "{}", service.said());
    assert!(!service.said().contains(PASSWORD));
}

#[tokio::test]
async fn a_flood_of_callers_who_wait_holds_up_nobody() {
    let Some(bus) = Bus::start().await else { return };
    let setup = Setup::new("ws://127.0.0.1:1").on(&bus);
    let mut service = setup.start();
    service.says(super::THERE).await;
    let mut logins = JoinSet::new();
    // The daemon lets a connection wait for 128 answers.
    for _ in 0..5 {
        let connection = bus.connect().await;
        for number in 0..100 {
            let connection = connection.clone();
            logins.spawn(async move {
                let entries = vec![(Term::from("number"), Term::Int(number))];
                let device = Device1Proxy::new(&connection).await.unwrap();
                device.login(&Dictionary::new(entries).unwrap()).await
            });
        }
    }
    // Each but one is given up for a newer one, or there are too many.
    for _ in 0..499 {
        let ended = within(logins.join_next()).await.unwrap().unwrap();
        assert!(
            matches!(ended, Err(Device1Error::GivenUp(_) | Device1Error::Busy(_))),
            "{ended:?}"
        );
    }
    let connection = bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    assert_ne!(within(device.state()).await.unwrap(), "connected");
    logins.abort_all();
}
