//! Messages that are kept on disk, and a service that is killed.

use fedecks_dbus::{Device1Error, Device1Proxy, Dictionary, Variant};
use fedecks_protocol::Term;
use fedecks_testing::tcp_relay::{Link, NewConnections, TcpRelay};

use crate::support::bus::Bus;
use crate::support::fedecksd::{Fedecksd, Setup, connected};
use crate::support::scene::{READY, Scene};
use crate::support::{By, Cloud, Seen, cloud, within};

fn options(entries: &[(&str, Term)]) -> Dictionary {
    let entries = entries.iter().map(|(key, value)| (Term::from(*key), value.clone()));
    Dictionary::new(entries.collect()).unwrap()
}

fn at_once() -> Dictionary {
    options(&[("keep", "disk".into()), ("sync", true.into())])
}

pub(crate) async fn keep(bus: &Bus, numbers: impl IntoIterator<Item = i64>) {
    let connection = bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    for number in numbers {
        let value = Variant::new(Term::from(number)).unwrap();
        device.send_kept(&value, &at_once()).await.unwrap();
    }
}

/// Ends the connections of a device, and refuses new ones.
pub(crate) fn go_offline(relay: &TcpRelay) {
    relay.set(Link::Cut(NewConnections::Refused));
    relay.reset();
}

/// A cloud that cannot be reached yet.
async fn unreachable_cloud() -> (Cloud, TcpRelay) {
    let cloud = cloud().await;
    let relay = TcpRelay::start(cloud.address).await;
    go_offline(&relay);
    (cloud, relay)
}

pub(crate) async fn start(setup: &Setup) -> Fedecksd {
    let mut service = setup.start();
    service.logs(READY).await;
    service
}

pub(crate) async fn numbers(cloud: &mut Cloud, count: usize) -> Vec<Term> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let next = |seen| if let Seen::Message(term) = seen { Some(term) } else { None };
        seen.push(cloud.until(next).await);
    }
    seen
}

#[tokio::test]
async fn what_is_on_disk_survives_kills_and_arrives_once_in_order() {
    let Some(bus) = Bus::start().await else { return };
    let (mut cloud, relay) = unreachable_cloud().await;
    let setup = Setup::new(relay.address).on(&bus).with_credentials();
    for from in [1, 6, 11] {
        let mut service = start(&setup).await;
        if from > 1 {
            // Before it is ready or after.
            service.has_logged("found kept messages on disk").await;
        }
        keep(&bus, from..from + 5).await;
        service.kill().await;
    }
    relay.set(Link::Up);
    let service = start(&setup).await;
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    let expected: Vec<Term> = (1..=15).map(Term::from).collect();
    assert_eq!(numbers(&mut cloud, 15).await, expected);
    keep(&bus, [16]).await;
    assert_eq!(numbers(&mut cloud, 1).await, [Term::from(16)]);
    service.kill().await;
    let service = start(&setup).await;
    assert_eq!(connected(&mut cloud).await, By::Token);
    keep(&bus, [17]).await;
    assert_eq!(numbers(&mut cloud, 1).await, [Term::from(17)]);
    drop(service);
}

#[tokio::test]
async fn what_the_cloud_acknowledges_soon_is_not_written() {
    let Some(mut scene) = Scene::connected().await else { return };
    let connection = scene.bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    let on_disk = options(&[("keep", "disk".into()), ("track", true.into())]);
    for number in 0..20_i64 {
        let value = Variant::new(Term::from(number)).unwrap();
        let id = device.send_kept(&value, &on_disk).await.unwrap();
        assert_eq!(scene.cloud.next().await, Seen::Message(Term::from(number)));
        assert_eq!(within(device.wait_settled(&id)).await.unwrap(), "delivered");
    }
    assert!(!scene.setup.data().join("queue").exists());
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_is_told() {
    let Some(bus) = Bus::start().await else { return };
    let (mut cloud, relay) = unreachable_cloud().await;
    let setup = Setup::new(relay.address).on(&bus).with_credentials();
    // Not even root can create a folder of this name.
    std::fs::write(setup.data().join("queue"), "").unwrap();
    let service = start(&setup).await;
    let connection = bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    let value = Variant::new(Term::from(1)).unwrap();
    let refused = device.send_kept(&value, &at_once()).await;
    let Err(Device1Error::Unconfirmed(text)) = refused else { panic!("{refused:?}") };
    assert!(text.contains("not on disk") && text.contains("waits in memory"), "{text}");
    let health = device.get_health().await.unwrap().into_term();
    let disk = health.get("queue").unwrap().get("disk").unwrap();
    assert_eq!(disk.get("messages"), Some(&Term::from(1)));
    assert!(disk.get("error").is_some(), "{disk:?}");
    std::fs::remove_file(setup.data().join("queue")).unwrap();
    // It is on its way all the same.
    relay.set(Link::Up);
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    assert_eq!(numbers(&mut cloud, 1).await, [Term::from(1)]);
    drop(service);
}
