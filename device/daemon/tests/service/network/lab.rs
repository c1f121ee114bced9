//! A device and its cloud with two links in between.

use std::time::Instant;

use fedecks_cloud::DeviceId;
use fedecks_protocol::{CloseCode, CloseReason};
use tokio::task::JoinHandle;

use crate::support::bus::Bus;
use crate::support::cloud::{By, Cloud, Seen};
use crate::support::fedecksd::{DEVICE, Fedecksd, Setup};
use crate::support::namespace::Namespace;
use crate::support::network_manager::{self, Managed, NetworkManager, Settings};

/// Who configures the links, and who tells of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Manager,
    Kernel,
}

const CLOUD: &str = "203.0.113.1:7443";

/// The link that is there from the beginning.
pub(super) const FIRST: Managed =
    Managed { link: "veth0", address: "192.0.2.2", gateway: "192.0.2.1", metric: 100 };
/// The better one, which comes later.
pub(super) const SECOND: Managed =
    Managed { link: "veth1", address: "198.51.100.2", gateway: "198.51.100.1", metric: 50 };

pub(super) struct Lab {
    source: Source,
    service: Option<Fedecksd>,
    setup: Setup,
    manager: Option<Manager>,
    cloud: Option<Cloud>,
    pub(super) device: Namespace,
    /// Where the cloud is, and the other ends of the links.
    pub(super) beyond: Namespace,
}

pub(super) struct Manager {
    running: Option<NetworkManager>,
    settings: Settings,
    pub(super) connection: zbus::Connection,
    bus: Bus,
}

impl Lab {
    /// There is no cloud yet. The second link has no carrier. NetworkManager, where it is the source, does not run yet.
    /// None where this cannot be had, which is said then.
    pub(super) async fn new(source: Source) -> Option<Self> {
        let device = Namespace::new().await?;
        let beyond = Namespace::new().await?;
        // A link with the number of its other end has the kernel tell of a carrier only after a second,
        // for it is taken for one without an end; hence the numbers.
        let any_way = "for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$file; done";
        device
            .run(&format!(
                "ip link add veth0 index 100 type veth peer name peer0 netns {0}
                 ip link add veth1 index 101 type veth peer name peer1 netns {0}
                 {any_way}",
                beyond.id()
            ))
            .await;
        beyond
            .run(&format!(
                "{any_way}
                 ip addr add 203.0.113.1/32 dev lo
                 ip addr add 192.0.2.1/24 dev peer0
                 ip addr add 198.51.100.1/24 dev peer1
                 ip link set peer0 up"
            ))
            .await;
        let words = device.words();
        let setup = Setup::new(&format!("ws://{CLOUD}"))
            .with_credentials()
            .line("network", "auto")
            .by(&words.each_ref().map(String::as_str));
        let mut lab =
            Self { source, service: None, setup, manager: None, cloud: None, device, beyond };
        match source {
            Source::Manager => {
                if !lab.add_manager(&[FIRST, SECOND]).await {
                    return None;
                }
            }
            Source::Kernel => {
                lab.device
                    .run(
                        "ip addr add 192.0.2.2/24 dev veth0
                         ip addr add 198.51.100.2/24 dev veth1
                         ip link set veth0 up
                         ip link set veth1 up
                         ip route add default via 192.0.2.1 metric 100",
                    )
                    .await;
            }
        }
        Some(lab)
    }

    /// The same with a device that is connected over the first link, whose waits these are: the bound
    /// of the first one, and the longest.
    pub(super) async fn connected(source: Source, waits: (&str, &str)) -> Option<Self> {
        let mut lab = Self::new(source).await?;
        if let Source::Manager = source {
            lab.start_manager();
            network_manager::state(&lab.manager().connection, 70).await;
        }
        lab.start_cloud().await;
        lab.start_service(waits);
        assert_eq!(lab.cloud().next().await, Seen::Connected(By::Credentials));
        lab.service().says("used and removed").await;
        Some(lab)
    }

    /// Puts a NetworkManager beside the device that manages these links alone. Whether that can be
    /// had, which is said if not.
    pub(super) async fn add_manager(&mut self, links: &[Managed]) -> bool {
        let Some(bus) = network_manager::bus().await else { return false };
        let connection = bus.connect().await;
        let setup = std::mem::replace(&mut self.setup, Setup::new(""));
        self.setup = setup.on(&bus);
        let settings = Settings::new(links);
        self.manager = Some(Manager { running: None, settings, connection, bus });
        true
    }

    pub(super) fn start_manager(&mut self) {
        let manager = self.manager.as_mut().unwrap();
        manager.running = Some(manager.settings.start(&manager.bus, &self.device));
    }

    pub(super) async fn kill_manager(&mut self) {
        self.manager.as_mut().unwrap().running.take().unwrap().kill().await;
    }

    /// The cloud ends the connection and says nothing of when to come back.
    pub(super) async fn end_connection(&mut self) {
        let device = DeviceId::new(DEVICE).unwrap();
        let bye = CloseReason::new(CloseCode::Normal);
        assert!(self.cloud().hub.disconnect(&device, bye).await.unwrap());
        self.service().says("connection lost").await;
    }

    pub(super) async fn start_cloud(&mut self) {
        let _inside = self.beyond.inside();
        self.cloud = Some(Cloud::start(CLOUD.parse().unwrap()).await);
    }

    pub(super) fn start_service(&mut self, (base, cap): (&str, &str)) {
        let setup = std::mem::replace(&mut self.setup, Setup::new(""));
        self.setup = setup.line("backoff_base", base).line("backoff_cap", cap);
        self.service = Some(self.setup.start());
    }

    /// The first link loses its carrier, and the device takes notice.
    pub(super) async fn lose_carrier(&mut self) {
        self.beyond.run("ip link set peer0 down").await;
        self.service().says("there is no network").await;
    }

    /// The first link has a carrier again. When the source first told of a network; for the kernel,
    /// when that was done.
    pub(super) async fn restore_carrier(&mut self) -> JoinHandle<Instant> {
        let told = match self.source {
            Source::Manager => network_manager::next_up(&self.manager().connection).await,
            Source::Kernel => tokio::spawn(std::future::ready(Instant::now())),
        };
        self.beyond.run("ip link set peer0 up").await;
        told
    }

    /// The better link has a carrier, an address and a default route.
    pub(super) async fn bring_second_link(&mut self) {
        self.beyond.run("ip link set peer1 up").await;
        if let Source::Kernel = self.source {
            self.device.run("ip route add default via 198.51.100.1 metric 50").await;
        }
    }

    /// The device's end of the connection breaks.
    pub(super) async fn break_connection(&mut self) {
        self.device.run("ss -K dst 203.0.113.1").await;
        self.service().says("connection lost").await;
    }

    pub(super) fn cloud(&mut self) -> &mut Cloud {
        self.cloud.as_mut().unwrap()
    }

    pub(super) fn service(&mut self) -> &mut Fedecksd {
        self.service.as_mut().unwrap()
    }

    pub(super) fn manager(&self) -> &Manager {
        self.manager.as_ref().unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let (true, Some(manager)) = (std::thread::panicking(), &self.manager) {
            println!("NetworkManager said:\n{}", manager.settings.log());
        }
    }
}
