//! Methods, properties and errors of the interface.

use std::time::{Duration, Instant};

use fedecks_dbus::{Device1Error, Device1Proxy, Dictionary, Variant};
use fedecks_device::Term;
use tokio::task::JoinSet;

use super::{busctl, call, call_error, credentials};
use crate::support::bus::{Bus, User};
use crate::support::fedecksd::{DEVICE, Setup};
use crate::support::scene::{READY, Scene};
use crate::support::{By, PASSWORD, Seen, within};

#[tokio::test]
async fn gdbus_logs_in_sends_values_and_bytes_and_reconnects() {
    let Some(mut scene) = Scene::unregistered().await else { return };
    let (bus, cloud) = (&scene.bus, &mut scene.cloud);
    assert_eq!(call(bus, "Login", &[&credentials(PASSWORD)]).await, "(true,)\n");
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    let text = |text: &str| Term::from(text);
    let tuple = Term::Tuple(vec![Term::Int(3), Term::Bool(true)]);
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
                (text("readings"), Term::List(vec![Term::Float(21.5), tuple])),
            ]),
        ),
    ] {
        assert_eq!(call(bus, "Send", &[argument]).await, "()\n");
        assert_eq!(cloud.next().await, Seen::Message(expected), "{argument}");
    }
    call(bus, "SendRaw", &["[0x00, 0xff]"]).await;
    assert_eq!(cloud.next().await, Seen::Raw(vec![0, 255]));
    call(bus, "Reconnect", &[]).await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    call(bus, "Logout", &[]).await;
    assert_eq!(busctl(bus, "get-property", &["State"]).await, "s \"unregistered\"\n");
}

#[tokio::test]
async fn messages_to_a_silent_cloud_are_not_delayed() {
    let Some(mut scene) = Scene::connected().await else { return };
    let connection = scene.bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    let begun = Instant::now();
    for number in 0..50 {
        device.send(&Variant::new(Term::Int(number)).unwrap()).await.unwrap();
        assert_eq!(scene.cloud.next().await, Seen::Message(Term::Int(number)));
    }
    // Much less than the ping interval, at which the cloud replies in any case.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_deepest_values_of_a_variant_pass_the_bus() {
    let Some(mut scene) = Scene::connected().await else { return };
    let connection = scene.bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    type Wrap = fn(Term) -> Term;
    let wraps: [(usize, Wrap); 5] = [
        (31, |term| Term::List(vec![term])),
        (31, |term| Term::Tuple(vec![term])),
        (21, |term| Term::Map(vec![(Term::from("k"), term)])),
        (10, |term| Term::Map(vec![(Term::Int(1), term)])),
        // More values than a D-Bus structure can have.
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
async fn busctl_sends_and_reads_the_properties_and_the_health() {
    let Some(mut scene) = Scene::connected().await else { return };
    let (bus, cloud) = (&scene.bus, &mut scene.cloud);
    busctl(bus, "call", &["Send", "v", "a{sv}", "1", "a", "ai", "2", "1", "2"]).await;
    let list = Term::List(vec![Term::Int(1), Term::Int(2)]);
    assert_eq!(cloud.next().await, Seen::Message(Term::Map(vec![(Term::from("a"), list)])));
    busctl(bus, "call", &["SendRaw", "ay", "3", "1", "2", "3"]).await;
    assert_eq!(cloud.next().await, Seen::Raw(vec![1, 2, 3]));

    let properties = ["State", "DeviceId", "Url", "NetworkState", "LastError", "Version"];
    let values = busctl(bus, "get-property", &properties).await;
    let url = format!("ws://{}/fedecks/websocket", cloud.address);
    let version = env!("CARGO_PKG_VERSION");
    let expected = ["connected", DEVICE, &url, "unknown", "", version];
    assert_eq!(values, expected.map(|value| format!("s \"{value}\"\n")).concat());
    let since = busctl(bus, "get-property", &["ConnectedSince"]).await;
    assert!(since.strip_prefix("t ").unwrap().trim().parse::<u64>().unwrap() > 1_700_000_000);

    let health = busctl(bus, "call", &["GetHealth"]).await;
    assert!(health.contains("\"state\" s \"connected\""), "{health}");
    assert!(health.contains("\"attempts\" x 1"), "{health}");
    assert!(!health.contains("/org/fedecks/term"), "an entry without a value: {health}");
}

#[tokio::test]
async fn every_error_has_a_name_and_a_description() {
    let Some(mut scene) = Scene::unregistered().await else { return };
    let bus = &scene.bus;
    let wrong = credentials("wrong");
    let reserved = "{'fedecks-token': <'x'>}";
    let unknown = "<(objectpath '/org/fedecks/term/int', <'twelve'>)>";
    for (method, arguments, name, text) in [
        ("Send", &["<1>"][..], "NotConnected", "not connected to the cloud"),
        ("Reconnect", &[], "NotRegistered", "the device is not registered"),
        ("Login", &[&wrong], "Rejected", "the cloud refused the login"),
        ("Login", &[reserved], "InvalidArgument", "the key \"fedecks-token\" is reserved"),
        ("Send", &[unknown], "InvalidArgument", "the structure (ov)"),
    ] {
        let error = call_error(bus, User::Member, method, arguments).await;
        let expected = format!("GDBus.Error:org.fedecks.Device1.Error.{name}: {text}");
        assert!(error.contains(&expected), "{method}: {error}");
    }

    call(bus, "Login", &[&credentials(PASSWORD)]).await;
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));
    // These don't fit into a command line.
    let connection = bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    let bytes = vec![0; 1_200_000];
    let raw = device.send_raw(&bytes).await;
    let value = device.send(&Variant::new(Term::Bytes(bytes)).unwrap()).await;
    for result in [raw, value] {
        let Err(Device1Error::TooBig(text)) = &result else { panic!("{result:?}") };
        assert!(text.contains("1048576"), "{text}");
    }
    device.send(&Variant::new(Term::Nil).unwrap()).await.unwrap();
    assert_eq!(scene.cloud.next().await, Seen::Message(Term::Nil));
}

#[tokio::test]
async fn the_log_never_shows_a_password() {
    let Some(mut scene) = Scene::start(|setup| setup.line("log", "trace")).await else { return };
    call(&scene.bus, "Login", &[&credentials(PASSWORD)]).await;
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));
    scene.service.logs("the token is stored").await;
    let log = scene.service.log();
    assert!(log.contains("member: MemberName(\"Login\")"), "{log}");
    assert!(!log.contains(PASSWORD));
}

#[tokio::test]
async fn a_flood_of_pending_calls_blocks_no_other_caller() {
    let Some(bus) = Bus::start().await else { return };
    let setup = Setup::new("127.0.0.1:1").on(&bus);
    let mut service = setup.start();
    service.logs(READY).await;
    let mut logins = JoinSet::new();
    // The daemon allows a connection 128 pending replies.
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
    // Each but the last is replaced by a newer one, or exceeds the limit.
    for _ in 0..499 {
        let ended = within(logins.join_next()).await.unwrap().unwrap();
        let is_refused = matches!(ended, Err(Device1Error::GivenUp(_) | Device1Error::Busy(_)));
        assert!(is_refused, "{ended:?}");
    }
    let connection = bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    assert_ne!(within(device.state()).await.unwrap(), "connected");
    logins.abort_all();
}
