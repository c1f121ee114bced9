use std::time::Duration;

use super::{THERE, credentials, gdbus, said};
use crate::support::bus::{Bus, User};
use crate::support::cloud::{By, Cloud, PASSWORD, Seen};
use crate::support::fedecksd::Setup;
use crate::support::within;

/// A line that begins a new search for the bus.
const NO_BUS: &str = "cannot connect to the system bus, will retry";

#[tokio::test]
async fn without_a_bus_the_rest_works_and_one_line_says_so_until_it_comes() {
    let Some(mut bus) = Bus::prepare() else { return };
    let mut cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let setup = Setup::new(&format!("ws://{}", cloud.address)).with_credentials().on(&bus);
    let mut service = setup.start();
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    service.says(NO_BUS).await;
    // Two more attempts fail meanwhile, after 1 s and 2 s more.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    bus.run().await;
    service.says(THERE).await;
    assert_eq!(service.said().matches("system bus").count(), 2, "{}", service.said());
    said(&gdbus(&bus, User::Member, "Send", &["<'late'>"]).await);
    assert_eq!(cloud.next().await, Seen::Message("late".into()));
}

#[tokio::test]
async fn a_bus_that_is_started_anew_is_found_again() {
    let Some(mut bus) = Bus::start().await else { return };
    let mut cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let setup = Setup::new(&format!("ws://{}", cloud.address)).on(&bus);
    let mut service = setup.start();
    for _ in 0..2 {
        service.says(THERE).await;
        bus.stop().await;
        service.says("the system bus is gone").await;
        bus.run().await;
    }
    service.says(THERE).await;
    said(&gdbus(&bus, User::Member, "Login", &[&credentials(PASSWORD)]).await);
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
}

#[tokio::test]
async fn a_bus_that_accepts_and_never_answers_holds_nothing_up() {
    let mut cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let setup = Setup::new(&format!("ws://{}", cloud.address)).with_credentials();
    let socket = setup.folder.path().join("silent");
    let silent = tokio::net::UnixListener::bind(&socket).unwrap();
    let setup =
        setup.variable("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", socket.display()));
    let mut service = setup.start();
    let _accepted = within(silent.accept()).await.unwrap();
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    let line = service.says(NO_BUS).await;
    assert!(line.contains("did not answer within 10 s"), "{line}");
    service.terminate().await;
}

#[tokio::test]
async fn a_name_that_is_taken_is_asked_for_until_it_is_free() {
    let Some(bus) = Bus::start().await else { return };
    let other = bus.connect().await;
    other.request_name("org.fedecks.Device1").await.unwrap();
    let setup = Setup::new("ws://127.0.0.1:1").on(&bus);
    let mut service = setup.start();
    let line = service.says("no D-Bus service").await;
    assert!(line.contains("another program has it"), "{line}");
    other.release_name("org.fedecks.Device1").await.unwrap();
    service.says(THERE).await;
}

#[tokio::test]
async fn without_the_policy_the_name_is_refused_and_the_line_says_why() {
    let Some(bus) = Bus::prepare() else { return };
    bus.set_policy(None);
    let mut bus = bus;
    bus.run().await;
    let setup = Setup::new("ws://127.0.0.1:1").on(&bus);
    let line = setup.start().says("no D-Bus service").await;
    assert!(line.contains("org.freedesktop.DBus.Error.AccessDenied"), "{line}");
}
