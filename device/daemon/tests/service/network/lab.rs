//! A device and its cloud in network namespaces, with two links in between.

use std::time::{Duration, Instant};

use fedecks_cloud::DeviceId;
use fedecks_protocol::{CloseCode, CloseReason};
use fedecks_testing::certificates::{Authority, Certificate};
use fedecks_testing::cloud::CloudOptions;
use fedecks_testing::namespace::Namespace;
use fedecks_testing::recorder::Recorder;
use fedecks_testing::relay::{Behaviour, End, Relay};
use tokio::task::JoinHandle;

use crate::support::bus::Bus;
use crate::support::fedecksd::{DEVICE, Fedecksd, Setup};
use crate::support::network_manager::{self, Managed, NetworkManager, Settings};
use crate::support::{By, Cloud, Seen, cloud_at};

/// What configures the links and reports their changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Manager,
    Kernel,
}

impl Source {
    pub(super) const ALL: [Self; 2] = [Self::Kernel, Self::Manager];
}

pub(super) const BY_MANAGER: &str = "by=\"network-manager\"";
pub(super) const BY_KERNEL: &str = "by=\"netlink\"";

const CLOUD: &str = "203.0.113.1:7443";

/// The link that is up at first.
pub(super) const FIRST: Managed =
    Managed { link: "veth0", address: "192.0.2.2", gateway: "192.0.2.1", metric: 100 };
/// The better one, which is brought up later.
pub(super) const SECOND: Managed =
    Managed { link: "veth1", address: "198.51.100.2", gateway: "198.51.100.1", metric: 50 };

pub(super) struct Lab {
    source: Source,
    service: Option<Fedecksd>,
    setup: Setup,
    manager: Option<Manager>,
    cloud: Option<Cloud>,
    far: Option<Far>,
    pub(super) device: Namespace,
    /// Where the cloud is, and the other ends of the links.
    pub(super) beyond: Namespace,
}

/// Where the cloud is, with TLS, if a slow link leads to it.
struct Far {
    namespace: Namespace,
    certificate: Certificate,
    _relay: Relay,
}

pub(super) struct Manager {
    running: Option<NetworkManager>,
    settings: Settings,
    pub(super) connection: zbus::Connection,
    bus: Bus,
}

impl Lab {
    /// Neither the cloud nor NetworkManager is started, and the second link has no carrier. None, and the test is
    /// skipped, if namespaces or NetworkManager are missing.
    pub(super) async fn new(source: Source) -> Option<Self> {
        println!("reported by: {source:?}");
        let device = Namespace::new().await?;
        let beyond = Namespace::new().await?;
        // If both ends had the same index, the kernel would not see them as linked and report a carrier only after
        // a second.
        let no_filter = "for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$file; done";
        let links = format!(
            "ip link add veth0 index 100 type veth peer name peer0 netns {0}
             ip link add veth1 index 101 type veth peer name peer1 netns {0}",
            beyond.id()
        );
        device.run(&links).await;
        device.run(no_filter).await;
        beyond.run(no_filter).await;
        let addresses = "ip addr add 203.0.113.1/32 dev lo
             ip addr add 192.0.2.1/24 dev peer0
             ip addr add 198.51.100.1/24 dev peer1
             ip link set peer0 up";
        beyond.run(addresses).await;
        let words = device.words();
        let setup = Setup::new(CLOUD)
            .with_credentials()
            .line("network", "auto")
            .by(&words.each_ref().map(String::as_str));
        let mut lab = Self {
            source,
            service: None,
            setup,
            manager: None,
            cloud: None,
            far: None,
            device,
            beyond,
        };
        match source {
            Source::Manager => {
                if !lab.add_manager(&[FIRST, SECOND]).await {
                    return None;
                }
            }
            Source::Kernel => {
                let addresses = "ip addr add 192.0.2.2/24 dev veth0
                     ip addr add 198.51.100.2/24 dev veth1
                     ip link set veth0 up
                     ip link set veth1 up
                     ip route add default via 192.0.2.1 metric 100";
                lab.device.run(addresses).await;
            }
        }
        Some(lab)
    }

    /// The same with a device that is connected over the first link, with these bounds of the backoff.
    pub(super) async fn connected(source: Source, waits: (&str, &str)) -> Option<Self> {
        let mut lab = Self::new(source).await?;
        if let Source::Manager = source {
            lab.start_manager();
            network_manager::state(&lab.manager().connection, 70).await;
        }
        lab.start_cloud().await;
        lab.start_service(waits);
        assert_eq!(lab.cloud().next().await, Seen::Connected(By::Credentials));
        lab.service().logs("used and removed").await;
        Some(lab)
    }

    /// Adds a NetworkManager for these links. False, and the test is skipped, if it is not installed.
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

    pub(super) async fn restart_manager(&mut self) {
        self.manager.as_mut().unwrap().running.take().unwrap().kill().await;
        self.service().logs(BY_KERNEL).await;
        self.start_manager();
        self.service().logs(BY_MANAGER).await;
    }

    /// The cloud closes the connection without a time to return.
    pub(super) async fn end_connection(&mut self) {
        let device = DeviceId::new(DEVICE).unwrap();
        let bye = CloseReason::new(CloseCode::Normal);
        assert!(self.cloud().hub.disconnect(&device, bye).await.unwrap());
        self.service().logs("connection lost").await;
    }

    /// Puts the cloud, which has not been started, behind a link with this delay in each direction, and has it use
    /// TLS.
    pub(super) async fn slow_down(&mut self, one_way: Duration) {
        let namespace = Namespace::new().await.unwrap();
        let near = End { namespace: &self.beyond, link: "far", addresses: &["198.18.0.1/30"] };
        let addresses = ["198.18.0.2/30", "203.0.113.1/32"];
        let far = End { namespace: &namespace, link: "near", addresses: &addresses };
        let relay = Relay::start(1, near, far).await;
        relay.set_both(&Behaviour::delayed(one_way));
        let routes = "ip addr del 203.0.113.1/32 dev lo
             ip route add 203.0.113.1 dev far
             echo 1 >/proc/sys/net/ipv4/ip_forward
             for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$file; done";
        self.beyond.run(routes).await;
        namespace.run("ip route add default dev near").await;
        let authority = Authority::new("ours");
        let setup = std::mem::replace(&mut self.setup, Setup::new(""));
        let ca_file = authority.write(setup.folder.path());
        self.setup = setup
            .line("url", &format!("wss://{CLOUD}"))
            .line("ca_file", ca_file.to_str().unwrap())
            .value("only_ca_file", "true");
        let certificate = authority.issue("203.0.113.1");
        self.far = Some(Far { namespace, certificate, _relay: relay });
    }

    pub(super) async fn start_cloud(&mut self) {
        let address = CLOUD.parse().unwrap();
        self.cloud = Some(match &self.far {
            None => {
                let _inside = self.beyond.inside();
                cloud_at(address).await
            }
            Some(far) => {
                let _inside = far.namespace.inside();
                let tls = Some(far.certificate.tls());
                CloudOptions { address, tls, ..CloudOptions::default() }.start(Recorder).await
            }
        });
    }

    pub(super) fn start_service(&mut self, (base, cap): (&str, &str)) {
        let setup = std::mem::replace(&mut self.setup, Setup::new(""));
        self.setup = setup.line("backoff_base", base).line("backoff_cap", cap);
        self.service = Some(self.setup.start());
    }

    /// The first link loses its carrier; returns when the device has noticed.
    pub(super) async fn lose_carrier(&mut self) {
        self.beyond.run("ip link set peer0 down").await;
        self.service().logs("there is no network").await;
    }

    /// The first link gets its carrier back. Returns when the source first reported a network; for the kernel, when
    /// the command was run.
    pub(super) async fn restore_carrier(&mut self) -> JoinHandle<Instant> {
        let reported = match self.source {
            Source::Manager => network_manager::next_up(&self.manager().connection).await,
            Source::Kernel => tokio::spawn(std::future::ready(Instant::now())),
        };
        self.beyond.run("ip link set peer0 up").await;
        reported
    }

    /// The better link has a carrier, an address and a default route.
    pub(super) async fn bring_second_link(&mut self) {
        self.beyond.run("ip link set peer1 up").await;
        if let Source::Kernel = self.source {
            self.device.run("ip route add default via 198.51.100.1 metric 50").await;
        }
    }

    /// Breaks the device's end of the connection.
    pub(super) async fn break_connection(&mut self) {
        self.device.run("ss -K dst 203.0.113.1").await;
        self.service().logs("connection lost").await;
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
            println!("NetworkManager's log:\n{}", manager.settings.log());
        }
    }
}
