//! The service without a bus, without its name, and with a bus that restarts or hangs.

use std::time::Duration;

use super::{call, credentials};
use crate::support::bus::Bus;
use crate::support::fedecksd::Setup;
use crate::support::scene::{READY, Scene};
use crate::support::{By, PASSWORD, Seen, cloud, within};

/// Logged when a search for the bus begins.
const NO_BUS: &str = "cannot connect to the system bus, will retry";

#[tokio::test]
async fn the_service_works_without_a_bus_and_logs_it_once() {
    let Some(mut bus) = Bus::prepare() else { return };
    let mut cloud = cloud().await;
    let setup = Setup::new(cloud.address).with_credentials().on(&bus);
    let mut service = setup.start();
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    service.logs(NO_BUS).await;
    // Two more attempts fail, after 1 s and 2 s more.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    bus.run().await;
    service.logs(READY).await;
    assert_eq!(service.log().matches("system bus").count(), 2, "{}", service.log());
    call(&bus, "Send", &["<'late'>"]).await;
    assert_eq!(cloud.next().await, Seen::Message("late".into()));
}

#[tokio::test]
async fn a_restarted_bus_is_found_again() {
    let Some(mut scene) = Scene::unregistered().await else { return };
    for _ in 0..2 {
        scene.bus.stop().await;
        scene.service.logs("the system bus is gone").await;
        scene.bus.run().await;
        scene.service.logs(READY).await;
    }
    call(&scene.bus, "Login", &[&credentials(PASSWORD)]).await;
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));
}

#[tokio::test]
async fn a_bus_that_accepts_and_never_replies_delays_nothing() {
    let mut cloud = cloud().await;
    let setup = Setup::new(cloud.address).with_credentials();
    let socket = setup.folder.path().join("silent");
    let silent = tokio::net::UnixListener::bind(&socket).unwrap();
    let address = format!("unix:path={}", socket.display());
    let setup = setup.variable("DBUS_SYSTEM_BUS_ADDRESS", address);
    let mut service = setup.start();
    let _accepted = within(silent.accept()).await.unwrap();
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    let line = service.logs(NO_BUS).await;
    assert!(line.contains("did not answer within 10 s"), "{line}");
    service.terminate().await;
}

#[tokio::test]
async fn a_name_owned_by_another_program_is_retried() {
    let Some(bus) = Bus::start().await else { return };
    let other = bus.connect().await;
    other.request_name("org.fedecks.Device1").await.unwrap();
    let setup = Setup::new("127.0.0.1:1").on(&bus);
    let mut service = setup.start();
    let line = service.logs("cannot acquire the D-Bus name").await;
    assert!(line.contains("another program owns it"), "{line}");
    other.release_name("org.fedecks.Device1").await.unwrap();
    service.logs(READY).await;
}

#[tokio::test]
async fn a_name_refused_by_the_policy_is_logged_with_the_reason() {
    let Some(mut bus) = Bus::prepare() else { return };
    bus.remove_policy();
    bus.run().await;
    let setup = Setup::new("127.0.0.1:1").on(&bus);
    let line = setup.start().logs("cannot acquire the D-Bus name").await;
    assert!(line.contains("org.freedesktop.DBus.Error.AccessDenied"), "{line}");
}
