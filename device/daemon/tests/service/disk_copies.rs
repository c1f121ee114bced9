//! Messages on disk in a data directory that is a copy, a backup, or on a partition that fails.

use std::path::Path;
use std::process::Command;

use fedecks_dbus::Device1Proxy;
use fedecks_protocol::Term;
use fedecks_testing::tcp_relay::{Link, TcpRelay};

use crate::disk_queue::{go_offline, keep, numbers, start};
use crate::support::bus::Bus;
use crate::support::fedecksd::{Fedecksd, Setup, connected};
use crate::support::machine::Machine;
use crate::support::{By, Cloud, Seen, cloud, until};

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

/// A cloud, the link to it, and a device that has its token on disk, with its running service.
async fn logged_in(bus: &Bus) -> (Cloud, TcpRelay, Setup, Fedecksd) {
    let mut cloud = cloud().await;
    let relay = TcpRelay::start(cloud.address).await;
    let setup = Setup::new(relay.address).on(bus).with_credentials();
    let service = start(&setup).await;
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    until(async || setup.data().join("token").exists().then_some(())).await;
    (cloud, relay, setup, service)
}

#[tokio::test]
async fn a_restored_backup_repeats_nothing_and_loses_nothing() {
    let Some(bus) = Bus::start().await else { return };
    let (mut cloud, relay, setup, service) = logged_in(&bus).await;
    let backup = setup.folder.path().join("backup");
    go_offline(&relay);
    keep(&bus, 1..=5).await;
    service.kill().await;
    copy(&setup.data(), &backup);

    relay.set(Link::Up);
    let service = start(&setup).await;
    assert_eq!(connected(&mut cloud).await, By::Token);
    keep(&bus, [6]).await;
    assert_eq!(numbers(&mut cloud, 6).await, (1..=6).map(Term::from).collect::<Vec<_>>());
    service.kill().await;

    std::fs::remove_dir_all(setup.data()).unwrap();
    copy(&backup, &setup.data());
    let service = start(&setup).await;
    assert_eq!(connected(&mut cloud).await, By::Token);
    keep(&bus, [7]).await;
    assert_eq!(numbers(&mut cloud, 1).await, [Term::from(7)]);
    drop(service);
}

#[tokio::test]
async fn a_copy_for_another_device_sends_nothing_of_the_first() {
    let Some(bus) = Bus::start().await else { return };
    let mut cloud = cloud().await;
    let relay = TcpRelay::start(cloud.address).await;
    go_offline(&relay);
    let first = Setup::new(relay.address).on(&bus);
    let service = start(&first).await;
    keep(&bus, 1..=5).await;
    service.kill().await;

    relay.set(Link::Up);
    let second = Setup::new(relay.address).on(&bus).line("device_id", "kitchen-2");
    std::fs::remove_dir_all(second.data()).unwrap();
    copy(&first.data(), &second.data());
    let second = second.with_credentials();
    let service = start(&second).await;
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    keep(&bus, [6]).await;
    assert_eq!(numbers(&mut cloud, 1).await, [Term::from(6)]);
    let connection = bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    let health = device.get_health().await.unwrap().into_term();
    assert_eq!(health.get("queue").unwrap().get("lost"), Some(&Term::from(5)));
    drop(service);
}

#[tokio::test]
async fn a_wiped_queue_loses_what_was_in_it_and_no_more() {
    let Some(bus) = Bus::start().await else { return };
    let (mut cloud, relay, setup, service) = logged_in(&bus).await;
    keep(&bus, [1]).await;
    assert_eq!(numbers(&mut cloud, 1).await, [Term::from(1)]);
    go_offline(&relay);
    keep(&bus, 2..=5).await;
    service.kill().await;

    std::fs::remove_dir_all(setup.data().join("queue")).unwrap();
    let service = start(&setup).await;
    keep(&bus, 6..=8).await;
    relay.set(Link::Up);
    assert_eq!(connected(&mut cloud).await, By::Token);
    keep(&bus, [9]).await;
    assert_eq!(numbers(&mut cloud, 4).await, (6..=9).map(Term::from).collect::<Vec<_>>());
    drop(service);
}

const DATA: &str = "/data/fedecks";
const MOUNT: &str = "mkdir -p /data && mount -t tmpfs -o size=1m,mode=755 tmpfs /data && \
                     install -d -o fedecks -g fedecks /data/fedecks";
const SEND: &str = "fedecks send --keep disk --sync";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_wait_in_memory_until_the_partition_recovers() {
    for (fault, error, repair) in [
        ("mount -o remount,ro /data", "Read-only file system", "mount -o remount,rw /data"),
        ("! head -c 2M /dev/zero > /data/full", "No space left on device", "rm /data/full"),
    ] {
        eprintln!("{fault}");
        let mut cloud = cloud().await;
        let relay = TcpRelay::start(cloud.address).await;
        let Some(machine) = Machine::boot(relay.address, DATA).await else { return };
        let run = |script: String| {
            let machine = &machine;
            async move { machine.run(&["sh", "-c", &script]).await }
        };
        run(format!("{MOUNT} && systemctl start fedecksd")).await;
        machine.log_in().await;
        assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
        machine.has("/data/fedecks/token").await;
        go_offline(&relay);
        run(fault.to_owned()).await;
        let answer = run(format!("{SEND} 1 2>&1; test $? = 8")).await;
        assert!(answer.contains("waits in memory"), "{answer}");
        let health = machine.health().await;
        assert!(health.contains(error), "{error} in {health}");
        run(repair.to_owned()).await;
        // It is tried again after up to a minute, or with the next message.
        run(format!("{SEND} 2")).await;

        run("kill -9 $(systemctl show --value --property MainPID fedecksd)".to_owned()).await;
        relay.set(Link::Up);
        assert_eq!(cloud.next().await, Seen::Connected(By::Token));
        assert_eq!(numbers(&mut cloud, 2).await, [1, 2].map(Term::from));
    }
}
