//! What the service takes in memory, at most, when the cloud or the programs on the bus are hostile.

use std::fs;

use fedecks_dbus::Device1Proxy;
use fedecks_testing::raw_cloud::{RawCloud, RawSession};
use tokio::task::JoinSet;
use zbus::Message;
use zbus::zvariant::Value;

use crate::support::bus::{Bus, Monitor, User};
use crate::support::fedecksd::{Fedecksd, Setup};
use crate::support::scene::READY;
use crate::support::{until, within};

/// How much more than idle the service may take, in KiB.
const ALLOWED: u64 = 8 * 1024;

const MIB: usize = 1024 * 1024;

/// A connected service on a bus, and its cloud.
struct Scene {
    session: RawSession,
    bus: Bus,
    monitor: Monitor,
    service: Fedecksd,
    /// In KiB.
    idle: u64,
    _cloud: RawCloud,
    _setup: Setup,
}

impl Scene {
    async fn start() -> Option<Self> {
        let bus = Bus::start().await?;
        let cloud = RawCloud::start().await;
        let setup = Setup::new(cloud.address).on(&bus).with_credentials();
        let mut service = setup.start();
        service.logs(READY).await;
        let session = cloud.accept().await;
        service.logs("used and removed").await;
        let monitor = bus.monitor(User::Member).await;
        let mut scene =
            Self { session, bus, monitor, service, idle: 0, _cloud: cloud, _setup: setup };
        // What is allocated once, with the first message.
        scene.session.send(text("first")).await;
        scene.monitor.until("'first'").await;
        scene.idle = scene.memory("VmRSS:");
        Some(scene)
    }

    /// A value of /proc/PID/status, in KiB.
    fn memory(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.service.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// Checks what it has taken at most, and starts to count again.
    fn assert_bounded(&self, attack: &str) {
        let taken = self.memory("VmHWM:").saturating_sub(self.idle);
        assert!(taken <= ALLOWED, "{attack}: {taken} KiB above idle, which is {} KiB", self.idle);
        fs::write(format!("/proc/{}/clear_refs", self.service.id()), "5").unwrap();
    }

    /// Waits until the service has read everything that was sent.
    async fn has_read_all(&mut self) {
        self.session.send([0x7f]).await;
        self.service.logs("kind=127").await;
    }
}

/// A message frame with this term.
fn message(term: &[u8]) -> Vec<u8> {
    [&[0x01, 0x00], term].concat()
}

/// A list of as many items.
fn list(items: usize, item: &[u8]) -> Vec<u8> {
    message(&[&[0x08], &length(items)[..], &item.repeat(items)].concat())
}

fn text(text: &str) -> Vec<u8> {
    message(&[&[0x05], &length(text.len())[..], text.as_bytes()].concat())
}

fn length(of: usize) -> Vec<u8> {
    [&[0xfc], &u32::try_from(of).unwrap().to_le_bytes()[..]].concat()
}

fn raw(size: usize) -> Vec<u8> {
    [&[0x02, 0x00], &vec![b'x'; size][..]].concat()
}

/// Frames that become as much as possible, some beyond the limit and some within.
fn hostile_frames() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("1 MiB of nulls", list(MIB - 10, &[0])),
        ("300,000 nulls", list(300_000, &[0])),
        ("as many nulls as are decoded", list(131_000, &[0])),
        ("nulls that just fit on the bus", list(43_000, &[0])),
        ("as many integers as are decoded", list(131_000, &[3, 2])),
        ("1 MiB of floats", list(116_000, &[4, 0, 0, 0, 0, 0, 0, 0, 1])),
        ("texts of one byte", list(85_000, &[5, 1, b'x'])),
        ("lists of one item", list(52_000, &[8, 1, 0])),
        ("1 MiB of text", text(&"x".repeat(MIB - 10))),
        ("1 MiB of raw bytes", raw(MIB - 10)),
    ]
}

#[tokio::test]
async fn a_frame_takes_little_memory_whatever_it_becomes() {
    let Some(mut scene) = Scene::start().await else { return };
    for (attack, frame) in hostile_frames() {
        for _ in 0..3 {
            scene.session.send(frame.clone()).await;
        }
        scene.session.send(text(&format!("after {attack}"))).await;
        scene.monitor.until(&format!("'after {attack}'")).await;
        scene.assert_bounded(attack);
    }
}

#[tokio::test]
async fn events_for_a_bus_that_stands_still_take_little_memory() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.bus.pause(true);
    for _ in 0..20 {
        // Until nothing fits into the socket of the bus.
        scene.session.send(raw(32 * 1024)).await;
    }
    for (attack, frame) in hostile_frames() {
        for _ in 0..64 {
            scene.session.send(frame.clone()).await;
        }
        scene.has_read_all().await;
        scene.assert_bounded(attack);
    }
    scene.bus.pause(false);
    scene.monitor.until("Event ('missed', {'count': <int64 ").await;
    scene.session.send(text("after all")).await;
    scene.monitor.until("'after all'").await;
    scene.assert_bounded("the bus continues");
}

/// Values that become as much as possible.
fn hostile_values() -> Vec<(&'static str, Value<'static>)> {
    let variants = |count| Value::from((0..count).map(Value::I32).collect::<Vec<_>>());
    vec![
        ("1 MiB of text", Value::from("x".repeat(MIB - 100))),
        ("a list of 16-bit integers", Value::from(vec![0i16; 650_000])),
        ("integers up to the limit", Value::from(vec![0i16; 131_000])),
        ("integers in variants", variants(80_000)),
        ("texts of one byte", Value::from(vec!["x"; 200_000])),
        ("8 MiB of text", Value::from("x".repeat(8 * MIB))),
        ("30 MiB of text", Value::from("x".repeat(30 * MIB))),
    ]
}

#[tokio::test]
async fn calls_on_the_bus_take_little_memory_whatever_they_carry() {
    let Some(scene) = Scene::start().await else { return };
    for (attack, value) in hostile_values() {
        let mut calls = JoinSet::new();
        for _ in 0..16 {
            let connection = scene.bus.connect().await;
            let value = value.try_clone().unwrap();
            calls.spawn(async move {
                let (name, path) = ("org.fedecks.Device1", "/org/fedecks/Device1");
                connection.call_method(Some(name), path, Some(name), "Send", &(value,)).await
            });
        }
        // Every one is answered.
        while let Some(answer) = within(calls.join_next()).await {
            match answer.unwrap() {
                Ok(_) => {}
                Err(zbus::Error::MethodError(name, ..)) => {
                    // The last is from the bus, which has its own limits.
                    let names = ["Device1.Error.TooBig", "Device1.Error.Busy", "LimitsExceeded"];
                    assert!(names.iter().any(|it| name.ends_with(it)), "{attack}: {name}");
                }
                Err(error) => panic!("{attack}: {error}"),
            }
        }
        scene.assert_bounded(attack);
    }
}

#[tokio::test]
async fn a_call_beyond_the_limit_is_answered_with_its_reason() {
    let Some(scene) = Scene::start().await else { return };
    let connection = scene.bus.connect().await;
    let (name, path) = ("org.fedecks.Device1", "/org/fedecks/Device1");
    let body = (Value::from("x".repeat(3 * MIB)),);
    let call = connection.call_method(Some(name), path, Some(name), "Send", &body);
    match within(call).await {
        Err(zbus::Error::MethodError(name, text, _)) => {
            assert_eq!(name.as_str(), "org.fedecks.Device1.Error.TooBig");
            let text = text.unwrap();
            assert_eq!(text, "the message is too big: at most 1310720 bytes are received");
        }
        other => panic!("{other:?}"),
    }
    let device = within(Device1Proxy::new(&connection)).await.unwrap();
    assert_eq!(within(device.state()).await.unwrap(), "connected");
}

#[tokio::test]
async fn signals_to_the_service_take_little_memory() {
    let Some(scene) = Scene::start().await else { return };
    let owner = scene.bus.connect().await;
    let bus = zbus::fdo::DBusProxy::new(&owner).await.unwrap();
    let unique = bus.get_name_owner("org.fedecks.Device1".try_into().unwrap()).await.unwrap();
    for _ in 0..8 {
        let connection = scene.bus.connect().await;
        // Everyone may send a signal to a connection, wanted or not.
        let signal = Message::signal("/", "org.example.Flood", "Flood").unwrap();
        let signal = signal.destination(unique.clone()).unwrap();
        let signal = signal.build(&("x".repeat(20 * MIB),)).unwrap();
        within(connection.send(&signal)).await.unwrap();
    }
    // In order on the bus: the answer comes after the signals.
    until(async || {
        let device = Device1Proxy::new(&owner).await.unwrap();
        (device.state().await == Ok("connected".to_owned())).then_some(())
    })
    .await;
    scene.assert_bounded("signals of 20 MiB");
}
