//! The network of a trial: hosts in network namespaces with an address each, on a bridge in that of this process.
//!
//! The namespaces have no names: they end with the processes in them, so nothing is left over however the trials end.

use std::net::{IpAddr, Ipv4Addr};

use fedecks_testing::namespace::Namespace;
use fedecks_testing::wait::within;
use nix::sched::{CloneFlags, unshare};
use tokio::process::Command;

/// The address of the bridge, where the devices and the applications are.
pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 98, 0, 1));

/// A hardware address that no host has: what is sent to it is lost.
const NOWHERE: &str = "02:00:00:00:00:99";

/// Moves this process, which must not have threads yet, into a separate network namespace.
pub(crate) fn enter_namespace() -> Result<(), nix::Error> {
    unshare(CloneFlags::CLONE_NEWNET)
}

/// Makes the bridge, once.
pub(crate) async fn make_bridge() {
    let commands = format!(
        "ip link set lo up; ip link add br0 type bridge; ip addr add {HERE}/24 dev br0; ip link set br0 up"
    );
    run(&commands).await;
}

/// Cuts off the hosts of an earlier trial, and forgets them. They may be there for minutes after their processes, as long
/// as there are connections whose other end has not answered.
pub(crate) async fn settle() {
    let mut command = Command::new("ip");
    command.args(["-o", "link", "show", "master", "br0"]).kill_on_drop(true);
    let listed = String::from_utf8(command.output().await.unwrap().stdout).unwrap();
    for line in listed.lines() {
        // "7: fdk123@if2: <BROADCAST,...". It may be gone by now.
        let Some(name) = line.split([' ', '@']).nth(1) else { continue };
        run(&format!("ip link del {name} || ! ip link show {name} 2>/dev/null")).await;
    }
    run("ip neigh flush dev br0").await;
}

/// A host.
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
    pub(crate) address: IpAddr,
}

impl Host {
    /// A new host with this last byte of its address. `None` if there can be no namespace.
    pub(crate) async fn new(last: u8) -> Option<Self> {
        let namespace = Namespace::new().await?;
        let address = IpAddr::V4(Ipv4Addr::new(10, 98, 0, last));
        let id = namespace.id();
        run(&format!(
            "ip link add fdk{id} type veth peer name eth0 netns {id}; \
             ip link set fdk{id} master br0 up"
        ))
        .await;
        let own = format!("ip addr add {address}/24 dev eth0; ip link set eth0 up");
        namespace.run(&own).await;
        Some(Self { namespace, address })
    }

    /// Loses all that this host sends to another one, silently.
    pub(crate) async fn stop_sending_to(&self, other: &Self) {
        let address = other.address;
        let entry = format!("ip neigh replace {address} lladdr {NOWHERE} dev eth0 nud permanent");
        self.namespace.run(&entry).await;
    }

    /// Loses nothing any more.
    pub(crate) async fn send_again_to(&self, other: &Self) {
        let address = other.address;
        self.namespace.run(&format!("ip neigh del {address} dev eth0")).await;
    }
}

/// Runs shell commands here.
async fn run(commands: &str) {
    let mut command = Command::new("sh");
    command.args(["-ec", commands]).kill_on_drop(true);
    assert!(within(command.status()).await.unwrap().success(), "{commands}");
}
