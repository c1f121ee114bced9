//! What becomes of the connection when the network comes, goes and changes: as NetworkManager tells
//! it, and as the kernel does where that is missing.

#![expect(clippy::print_stdout, reason = "measurements are printed")]

mod lab;

use std::time::{Duration, Instant};

use fedecks_cloud::DeviceId;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};

use self::lab::{Lab, Source};
use crate::support::cloud::{By, Seen};
use crate::support::fedecksd::{DEVICE, Setup};
use crate::support::{network_manager, within};

const BY_MANAGER: &str = "by=\"network-manager\"";
const BY_KERNEL: &str = "by=\"netlink\"";

async fn waits_the_longest_back_off(source: Source) {
    let Some(mut lab) = Lab::connected(source, ("50ms", "60s")).await else { return };
    lab.lose_carrier().await;
    lab.break_connection().await;
    let scheduled = lab.service().says("connection scheduled").await;
    let delay = scheduled.rsplit("delay_ms=").next().unwrap().trim().parse::<u64>().unwrap();
    assert!((30_000..=60_000).contains(&delay), "{scheduled}");
    // The first back-off is 50 ms at most.
    lab.service().keeps_from_saying("connecting", Duration::from_secs(2)).await;
}

#[tokio::test]
async fn with_the_manager_at_20_no_dial_comes_before_the_longest_back_off() {
    waits_the_longest_back_off(Source::Manager).await;
}

#[tokio::test]
async fn without_a_default_route_no_dial_comes_before_the_longest_back_off() {
    waits_the_longest_back_off(Source::Kernel).await;
}

/// Ten times, from the first sign of a network to the Welcome. The wait that ends would have lasted
/// for half a day at least.
async fn is_back_within_250_ms(source: Source) {
    let Some(mut lab) = Lab::connected(source, ("1d", "1d")).await else { return };
    let mut took = Vec::new();
    for _ in 0..10 {
        // First, as nothing must be sent without a carrier: the kernel would ask for the neighbour
        // then, and again only after a second.
        lab.end_connection().await;
        lab.lose_carrier().await;
        let start = lab.restore_carrier().await;
        lab.service().says(" connected").await;
        let now = Instant::now();
        took.push(now - within(start).await.unwrap());
        assert_eq!(lab.cloud().next().await, Seen::Connected(By::Token));
    }
    took.sort_unstable();
    let (median, worst) = ((took[4] + took[5]) / 2, took[9]);
    println!("{source:?}: connected again after {median:?} (median), {worst:?} (worst of 10)");
    assert!(worst <= Duration::from_millis(250), "{took:?}");
}

#[tokio::test]
async fn when_the_manager_has_the_carrier_back_it_is_connected_within_250_ms() {
    is_back_within_250_ms(Source::Manager).await;
}

#[tokio::test]
async fn when_the_kernel_has_the_carrier_back_it_is_connected_within_250_ms() {
    is_back_within_250_ms(Source::Kernel).await;
}

async fn replaces_a_half_open_connection(source: Source) {
    let Some(mut lab) = Lab::connected(source, ("50ms", "1h")).await else { return };
    // What goes to the first link's address vanishes without a word.
    lab.beyond.run("ip route add blackhole 192.0.2.2/32").await;
    lab.bring_second_link().await;
    lab.service().says("the network is another one").await;
    let changed = Instant::now();
    lab.service().says("connection lost: the ping timed out").await;
    lab.service().says(" connected").await;
    let took = changed.elapsed();
    println!("{source:?}: a half-open connection was replaced after {took:?}");
    assert!(took <= Duration::from_secs(5), "{took:?}");
    assert_eq!(lab.cloud().next().await, Seen::Connected(By::Token));
}

#[tokio::test]
async fn when_the_manager_switches_links_a_half_open_connection_is_replaced_within_5_s() {
    replaces_a_half_open_connection(Source::Manager).await;
}

#[tokio::test]
async fn when_routes_switch_links_a_half_open_connection_is_replaced_within_5_s() {
    replaces_a_half_open_connection(Source::Kernel).await;
}

async fn keeps_a_healthy_connection(source: Source) {
    let Some(mut lab) = Lab::connected(source, ("50ms", "1h")).await else { return };
    lab.bring_second_link().await;
    lab.service().says("the network is another one").await;
    // The probe's deadline is 3 s.
    lab.service().keeps_from_saying("connection lost", Duration::from_millis(3_500)).await;
    let device = DeviceId::new(DEVICE).unwrap();
    assert!(lab.cloud().hub.is_connected(&device).await.unwrap());
}

#[tokio::test]
async fn when_the_manager_switches_links_a_healthy_connection_is_kept() {
    keeps_a_healthy_connection(Source::Manager).await;
}

#[tokio::test]
async fn when_routes_switch_links_a_healthy_connection_is_kept() {
    keeps_a_healthy_connection(Source::Kernel).await;
}

#[tokio::test]
async fn a_flood_of_changes_costs_little_and_no_connection() {
    const CHANGES: usize = 40_000;
    let Some(mut lab) = Lab::connected(Source::Kernel, ("50ms", "1h")).await else { return };
    let before = lab.service().processor_time();
    let change = "route add default via 192.0.2.1 metric 500\n\
                  route del default via 192.0.2.1 metric 500\n";
    let begun = Instant::now();
    lab.device.feed("ip -batch -", &change.repeat(CHANGES / 2)).await;
    let took = begun.elapsed();
    let spent = lab.service().processor_time() - before;
    println!("{CHANGES} changes in {took:?} cost {spent:?} of processor time");
    assert!(spent < took / 2, "{spent:?} of {took:?}");
    lab.service().keeps_from_saying("connection lost", Duration::from_secs(2)).await;
    let reports = lab.service().said().matches("the network is another one").count();
    assert!(reports <= 2 + usize::try_from(took.as_secs()).unwrap(), "{reports} in {took:?}");

    lab.lose_carrier().await;
    drop(lab.restore_carrier().await);
    lab.service().says("there is a network").await;
}

#[tokio::test]
async fn a_manager_that_does_not_manage_the_link_that_works_does_not_keep_it_from_connecting() {
    let Some(mut lab) = Lab::new(Source::Kernel).await else { return };
    if !lab.add_manager(&[lab::SECOND]).await {
        return;
    }
    // Addresses that are there already would count as a connection.
    lab.device.run("ip addr flush dev veth1").await;
    lab.start_manager();
    network_manager::state(&lab.manager().connection, 20).await;
    lab.start_service(("50ms", "3s"));
    lab.service().says(BY_MANAGER).await;
    lab.service().says("there is no network").await;
    lab.start_cloud().await;
    lab.service().says(" connected").await;
    assert_eq!(lab.cloud().next().await, Seen::Connected(By::Credentials));
    lab.service().says("used and removed").await;

    // From then on it is not believed.
    let reply = lab
        .manager()
        .connection
        .call_method(
            Some("org.fedecks.Device1"),
            "/org/fedecks/Device1",
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &("org.fedecks.Device1", "NetworkState"),
        )
        .await
        .unwrap();
    let value: OwnedValue = reply.body().deserialize().unwrap();
    assert_eq!(value.downcast_ref(), Ok("unknown"));
}

#[tokio::test]
async fn a_manager_that_starts_late_takes_over() {
    let Some(mut lab) = Lab::new(Source::Manager).await else { return };
    lab.start_cloud().await;
    lab.start_service(("50ms", "1h"));
    lab.service().says(BY_KERNEL).await;
    lab.service().says("there is no network").await;
    lab.start_manager();
    lab.service().says(BY_MANAGER).await;
    assert_eq!(lab.cloud().next().await, Seen::Connected(By::Credentials));
}

#[tokio::test]
async fn a_manager_that_is_killed_and_started_again_costs_no_connection_and_is_heard_again() {
    let Some(mut lab) = Lab::connected(Source::Manager, ("50ms", "1h")).await else { return };
    lab.kill_manager().await;
    lab.service().says(BY_KERNEL).await;
    lab.start_manager();
    lab.service().says(BY_MANAGER).await;
    network_manager::state(&lab.manager().connection, 70).await;
    lab.service().keeps_from_saying("connection lost", Duration::from_secs(3)).await;

    // The same while there is no network.
    lab.lose_carrier().await;
    lab.break_connection().await;
    lab.kill_manager().await;
    lab.service().says(BY_KERNEL).await;
    lab.start_manager();
    lab.service().says(BY_MANAGER).await;
    drop(lab.restore_carrier().await);
    lab.service().says(" connected").await;
}

/// Signals more than a queue holds before each answer, as on a host full of containers. The real one
/// cannot be made to do that at a given moment.
struct Talkative;

#[zbus::interface(name = "org.freedesktop.NetworkManager")]
impl Talkative {
    #[zbus(property)]
    async fn state(&self, #[zbus(signal_emitter)] emitter: SignalEmitter<'_>) -> u32 {
        for _ in 0..1_000 {
            Self::device_added(&emitter).await.unwrap();
        }
        70
    }

    #[zbus(property)]
    fn connectivity(&self) -> u32 {
        4
    }

    #[zbus(property)]
    fn primary_connection(&self) -> OwnedObjectPath {
        OwnedObjectPath::try_from("/a").unwrap()
    }

    #[zbus(property)]
    fn startup(&self) -> bool {
        false
    }

    #[zbus(signal)]
    async fn device_added(emitter: &SignalEmitter<'_>) -> zbus::Result<()>;
}

#[tokio::test]
async fn a_flood_of_a_managers_signals_does_not_hold_up_the_answer_behind_it() {
    let Some(bus) = network_manager::bus().await else { return };
    let manager = bus.connect().await;
    manager.object_server().at("/org/freedesktop/NetworkManager", Talkative).await.unwrap();
    manager.request_name("org.freedesktop.NetworkManager").await.unwrap();
    let setup = Setup::new("ws://127.0.0.1:1").line("network", "network-manager").on(&bus);
    let mut service = setup.start();
    service.says("on the system bus").await;
    let asked = Instant::now();
    service.says(BY_MANAGER).await;
    // A call over the bus is given up after 10 s.
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
}
