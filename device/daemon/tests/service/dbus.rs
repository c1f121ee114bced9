//! The D-Bus service on a real dbus-daemon, driven by tools that others wrote.

mod availability;
mod calls;
mod introspection;
mod policy;
mod signals;

use std::process::Output;

use crate::support::bus::{Bus, User};
use crate::support::cloud::{By, Cloud, PASSWORD, Seen, USER};
use crate::support::fedecksd::{Fedecksd, Setup};

/// What the service says when it has its name.
const THERE: &str = "the D-Bus service is there";

/// A cloud, a bus, and a service on it that nobody has logged in.
struct Scene {
    cloud: Cloud,
    bus: Bus,
    service: Fedecksd,
    _setup: Setup,
}

impl Scene {
    async fn start() -> Option<Self> {
        let bus = Bus::start().await?;
        let cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
        let setup = Setup::new(&format!("ws://{}", cloud.address)).on(&bus);
        let mut service = setup.start();
        service.says(THERE).await;
        Some(Self { cloud, bus, service, _setup: setup })
    }

    /// The same, logged in and connected.
    async fn connected() -> Option<Self> {
        let mut scene = Self::start().await?;
        let login = gdbus(&scene.bus, User::Member, "Login", &[&credentials(PASSWORD)]).await;
        assert_eq!(said(&login), "(true,)\n");
        assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));
        Some(scene)
    }
}

/// As gdbus takes them.
fn credentials(password: &str) -> String {
    format!("{{'username': <'{USER}'>, 'password': <'{password}'>}}")
}

async fn gdbus(bus: &Bus, user: User, method: &str, arguments: &[&str]) -> Output {
    let method = match method.contains('.') {
        true => method.to_owned(),
        false => format!("org.fedecks.Device1.{method}"),
    };
    let mut words = vec!["gdbus", "call", "--system", "--dest", "org.fedecks.Device1"];
    words.extend(["--object-path", "/org/fedecks/Device1", "--method", &method]);
    words.extend(arguments);
    bus.run_as(user, &words).await
}

async fn busctl(bus: &Bus, verb: &str, arguments: &[&str]) -> Output {
    let address = format!("--address={}", bus.address());
    let object = ["org.fedecks.Device1", "/org/fedecks/Device1", "org.fedecks.Device1"];
    let mut words = vec!["busctl", &address, verb];
    words.extend(object);
    words.extend(arguments);
    bus.run_as(User::Root, &words).await
}

/// What it printed, if all was well.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it said was wrong.
fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}
