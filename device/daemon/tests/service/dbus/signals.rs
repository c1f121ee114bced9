//! The signals, as gdbus shows them.

use fedecks_device::Term;
use fedecks_protocol::{CloseCode, CloseReason};

use super::call;
use crate::support::bus::User;
use crate::support::fedecksd::DEVICE;
use crate::support::scene::Scene;
use crate::support::{By, Seen, cloud_at, push, push_raw};

#[tokio::test]
async fn messages_events_and_changed_properties_are_signalled() {
    let Some(scene) = Scene::connected().await else { return };
    let mut monitor = scene.bus.monitor(User::Member).await;
    let term = Term::Map(vec![
        (Term::from("text"), Term::from("x")),
        (Term::from("many"), Term::List(vec![Term::Int(1), Term::Float(0.5), Term::Nil])),
        (Term::from("pair"), Term::Tuple(vec![Term::Bool(true), Term::Bytes(vec![1, 2])])),
    ]);
    push(&scene.cloud, term).await;
    push_raw(&scene.cloud, &[0, 255]).await;
    let seen = monitor.until("RawMessageReceived").await;
    let from = "/org/fedecks/Device1: org.fedecks.Device1";
    let value = "{'text': <'x'>, 'many': <[<int64 1>, <0.5>, <(objectpath '/org/fedecks/term/nil', \
                 <''>)>]>, 'pair': <(<true>, <[byte 0x01, 0x02]>)>}";
    assert_eq!(seen[..seen.len() - 1], [format!("{from}.MessageReceived (<{value}>,)")]);
    assert_eq!(seen[1], format!("{from}.RawMessageReceived ([byte 0x00, 0xff],)"));

    let address = scene.cloud.stop().await;
    let seen = monitor.until("Event ('connection_lost', {'reason': <'").await.concat();
    assert!(seen.contains("PropertiesChanged ('org.fedecks.Device1', {"), "{seen}");
    assert!(seen.contains("'ConnectedSince': <uint64 0>"), "{seen}");
    assert!(seen.contains("'LastError': <'"), "{seen}");
    monitor.until("Event ('connection_scheduled', {'delay_ms': <int64 ").await;
    monitor.until("Event ('connecting', {'attempt': <int64 ").await;
    monitor.until("Event ('connection_failed', {'reason': <'").await;
    let mut cloud = cloud_at(address).await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    let seen = monitor.until("Event ('connected', @a{sv} {})").await.concat();
    assert!(seen.contains("'State': <'connected'>"), "{seen}");
    call(&scene.bus, "Logout", &[]).await;
    monitor.until("Event ('unregistered', @a{sv} {})").await;
}

#[tokio::test]
async fn a_message_without_a_d_bus_form_harms_nothing_else() {
    let Some(scene) = Scene::connected().await else { return };
    let mut monitor = scene.bus.monitor(User::Member).await;
    let lists = |levels| (0..levels).fold(Term::Int(1), |term, _| Term::List(vec![term]));
    let maps =
        |levels| (0..levels).fold(Term::Int(1), |term, _| Term::Map(vec![(Term::from("k"), term)]));
    // The deepest that dbus-daemon accepts, and one level more.
    for (term, is_sent) in
        [(lists(31), true), (lists(32), false), (maps(21), true), (maps(22), false)]
    {
        push(&scene.cloud, term).await;
        let signal = if is_sent { "MessageReceived (<" } else { "Event ('message_undeliverable'" };
        assert_eq!(monitor.until(signal).await.len(), 1);
    }
    push(&scene.cloud, Term::from("nul\0 inside")).await;
    monitor.until("'/org/fedecks/term/text'").await;
}

#[tokio::test]
async fn a_stalled_bus_costs_only_events_that_are_counted() {
    let Some(mut scene) = Scene::connected().await else { return };
    let mut monitor = scene.bus.monitor(User::Member).await;
    let device = DEVICE.parse().unwrap();
    scene.bus.pause(true);
    // Much more than fits into the socket's buffer and the queue.
    let mut pushed = 0;
    for _ in 0..10 {
        for _ in 0..20 {
            push_raw(&scene.cloud, &[b'x'; 32 * 1024]).await;
            pushed += 1;
        }
        // When the device reconnects after the close, it has read everything.
        scene.cloud.hub.disconnect(&device, CloseReason::new(CloseCode::Restart)).await.unwrap();
        assert_eq!(scene.cloud.next().await, Seen::Connected(By::Token));
    }
    scene.bus.pause(false);
    scene.service.logs("dropped events").await;
    let seen = monitor.until("Event ('missed', {'count': <int64 ").await;
    let signalled = seen.iter().filter(|line| line.contains("RawMessageReceived")).count();
    assert!(signalled < pushed, "{signalled}");
    push(&scene.cloud, Term::from("after all")).await;
    monitor.until("MessageReceived (<'after all'>,)").await;
}
