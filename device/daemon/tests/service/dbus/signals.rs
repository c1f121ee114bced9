use fedecks_device::Term;
use fedecks_protocol::{CloseCode, CloseReason};

use super::{Scene, gdbus, said};
use crate::support::bus::User;
use crate::support::cloud::{By, Cloud, Seen};
use crate::support::fedecksd::DEVICE;

#[tokio::test]
async fn messages_events_and_changed_properties_are_signalled() {
    let Some(scene) = Scene::connected().await else { return };
    let mut monitor = scene.bus.monitor(User::Member).await;
    let device = DEVICE.parse().unwrap();
    let term = Term::Map(vec![
        (Term::from("text"), Term::from("x")),
        (Term::from("many"), Term::List(vec![Term::Int(1), Term::Float(0.5), Term::Nil])),
        (Term::from("pair"), Term::Tuple(vec![Term::Bool(true), Term::Bytes(vec![1, 2])])),
    ]);
    scene.cloud.hub.push(&device, term).await.unwrap();
    scene.cloud.hub.push_raw(&device, vec![0, 255]).await.unwrap();
    let seen = monitor.until("RawMessageReceived").await;
    let from = "/org/fedecks/Device1: org.fedecks.Device1";
    assert_eq!(
        seen,
        [
            format!(
                "{from}.MessageReceived (<{{'text': <'x'>, 'many': <[<int64 1>, <0.5>, \
                 <(objectpath '/org/fedecks/term/nil', <''>)>]>, \
                 'pair': <(<true>, <[byte 0x01, 0x02]>)>}}>,)"
            ),
            format!("{from}.RawMessageReceived ([byte 0x00, 0xff],)"),
        ]
    );

    let address = scene.cloud.stop().await;
    let seen = monitor.until("Event ('connection_lost', {'reason': <'").await.concat();
    assert!(seen.contains("PropertiesChanged ('org.fedecks.Device1', {"), "{seen}");
    assert!(seen.contains("'ConnectedSince': <uint64 0>"), "{seen}");
    assert!(seen.contains("'LastError': <'"), "{seen}");
    monitor.until("Event ('connection_scheduled', {'delay_ms': <int64 ").await;
    monitor.until("Event ('connecting', {'attempt': <int64 ").await;
    monitor.until("Event ('connection_failed', {'reason': <'").await;
    let mut cloud = Cloud::start(address).await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    let seen = monitor.until("Event ('connected', @a{sv} {})").await.concat();
    assert!(seen.contains("'State': <'connected'>"), "{seen}");
    said(&gdbus(&scene.bus, User::Member, "Logout", &[]).await);
    monitor.until("Event ('unregistered', @a{sv} {})").await;
}

#[tokio::test]
async fn what_d_bus_cannot_hold_costs_neither_the_bus_nor_the_next_message() {
    let Some(scene) = Scene::connected().await else { return };
    let mut monitor = scene.bus.monitor(User::Member).await;
    let device = DEVICE.parse().unwrap();
    let lists = |levels| (0..levels).fold(Term::Int(1), |term, _| Term::List(vec![term]));
    let maps =
        |levels| (0..levels).fold(Term::Int(1), |term, _| Term::Map(vec![(Term::from("k"), term)]));
    // The deepest that dbus-daemon passes on, and one level more.
    for (term, is_told) in
        [(lists(31), true), (lists(32), false), (maps(21), true), (maps(22), false)]
    {
        scene.cloud.hub.push(&device, term).await.unwrap();
        let signal = if is_told { "MessageReceived (<" } else { "Event ('message_undeliverable'" };
        assert_eq!(monitor.until(signal).await.len(), 1);
    }
    scene.cloud.hub.push(&device, Term::from("nul\0 inside")).await.unwrap();
    monitor.until("'/org/fedecks/term/text'").await;
}

#[tokio::test]
async fn a_bus_that_takes_nothing_for_a_while_costs_events_that_are_counted_and_nothing_else() {
    let Some(mut scene) = Scene::connected().await else { return };
    let mut monitor = scene.bus.monitor(User::Member).await;
    let device = DEVICE.parse().unwrap();
    scene.bus.pause(true);
    // Much more than a socket holds, and more than wait for the bus.
    let mut pushed = 0;
    for _ in 0..10 {
        for _ in 0..20 {
            scene.cloud.hub.push_raw(&device, vec![b'x'; 32 * 1024]).await.unwrap();
            pushed += 1;
        }
        // The device has read everything when it answers the close with another connection.
        scene.cloud.hub.disconnect(&device, CloseReason::new(CloseCode::Restart)).await.unwrap();
        assert_eq!(scene.cloud.next().await, Seen::Connected(By::Token));
    }
    scene.bus.pause(false);
    scene.service.says("callers on D-Bus missed events").await;
    let seen = monitor.until("Event ('missed', {'count': <int64 ").await;
    let signalled = seen.iter().filter(|line| line.contains("RawMessageReceived")).count();
    assert!(signalled < pushed, "{signalled}");
    scene.cloud.hub.push(&device, Term::from("after all")).await.unwrap();
    monitor.until("MessageReceived (<'after all'>,)").await;
}
