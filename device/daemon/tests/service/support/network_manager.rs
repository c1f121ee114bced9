//! The real NetworkManager, in a namespace and on a private bus.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use fedecks_testing::namespace::Namespace;
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use zbus::message::Type;
use zbus::zvariant::{ObjectPath, OwnedValue};
use zbus::{MatchRule, MessageStream};

use super::bus::Bus;
use super::{skip, until, within, write};

const NAME: &str = "org.freedesktop.NetworkManager";
const PATH: &str = "/org/freedesktop/NetworkManager";
/// Of its package.
const POLICY: &str = "/usr/share/dbus-1/system.d/org.freedesktop.NetworkManager.conf";

/// A link that NetworkManager manages.
pub(crate) struct Managed {
    pub(crate) link: &'static str,
    pub(crate) address: &'static str,
    pub(crate) gateway: &'static str,
    pub(crate) metric: u32,
}

/// What NetworkManager is started with. Outlives it.
pub(crate) struct Settings(TempDir);

/// A running NetworkManager. Dropping it kills it.
pub(crate) struct NetworkManager(Child);

impl Settings {
    /// It manages only these links.
    pub(crate) fn new(links: &[Managed]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<_> = links.iter().map(|it| format!("interface-name:{}", it.link)).collect();
        let except: String = names.iter().map(|name| format!("except:{name};")).collect();
        for name in ["etc/system-connections", "lib", "run/NetworkManager"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let text = format!(
            "[main]\nplugins=keyfile\nno-auto-default=*\nauth-polkit=false\nhostname-mode=none\n\
             dns=none\nrc-manager=unmanaged\nsystemd-resolved=false\nconfigure-and-quit=no\n\
             [connectivity]\nenabled=false\n[logging]\nlevel=INFO\n\
             [device]\nmatch-device={}\nmanaged=1\ncarrier-wait-timeout=200\n\
             [keyfile]\nunmanaged-devices={except}\n",
            names.join(";"),
        );
        fs::write(folder.path().join("etc/NetworkManager.conf"), text).unwrap();
        for (number, Managed { link, address, gateway, metric }) in links.iter().enumerate() {
            let file = folder.path().join(format!("etc/system-connections/{link}.nmconnection"));
            let text = format!(
                "[connection]\nid={link}\nuuid=5f3c1f0e-0000-4000-8000-00000000000{number}\n\
                 type=ethernet\ninterface-name={link}\nautoconnect=true\nautoconnect-retries=0\n\
                 [ipv4]\nmethod=manual\naddress1={address}/24,{gateway}\nroute-metric={metric}\n\
                 [ipv6]\nmethod=disabled\n"
            );
            write(&file, &text, 0o600);
        }
        Self(folder)
    }

    /// Starts it. It takes a while until it is on the bus.
    pub(crate) fn start(&self, bus: &Bus, namespace: &Namespace) -> NetworkManager {
        // /sys has the links of its network namespace, and being read-only tells it that there is no udev.
        let script = "mount -t sysfs -o ro sysfs /sys && \
            mount --bind \"$0/etc\" /etc/NetworkManager && \
            mkdir -p /var/lib/NetworkManager && mount --bind \"$0/lib\" /var/lib/NetworkManager && \
            mount --bind \"$0/run\" /run && \
            exec NetworkManager --debug >\"$0/log\" 2>&1";
        let words = namespace.words();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(words)
            .args(["unshare", "--mount", "--propagation=private", "sh", "-c", script])
            .arg(self.0.path())
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        NetworkManager(child)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.0.path().join("log")).unwrap_or_default()
    }
}

impl NetworkManager {
    pub(crate) async fn kill(mut self) {
        within(self.0.kill()).await.unwrap();
    }
}

/// A bus whose policy admits NetworkManager. None, and the test is skipped, if it is not installed.
pub(crate) async fn bus() -> Option<Bus> {
    let Ok(policy) = fs::read_to_string(POLICY) else {
        skip("NetworkManager is missing, of the package network-manager");
        return None;
    };
    // A mount point for its configuration.
    if !Path::new("/etc/NetworkManager").is_dir() {
        skip("/etc/NetworkManager is missing, of the package network-manager");
        return None;
    }
    let mut bus = Bus::prepare()?;
    bus.add_policy(NAME, &policy);
    bus.run().await;
    Some(bus)
}

/// Waits until NetworkManager is on the bus and in this state.
pub(crate) async fn state(connection: &zbus::Connection, wanted: u32) {
    let proxy = zbus::proxy::Builder::<zbus::Proxy<'_>>::new(connection)
        .destination(NAME)
        .and_then(|it| it.path(PATH)?.interface(NAME))
        .map(|it| it.cache_properties(zbus::proxy::CacheProperties::No));
    let proxy = proxy.unwrap().build().await.unwrap();
    // It owns its name before it replies.
    until(async || (proxy.get_property("State").await == Ok(wanted)).then_some(())).await;
}

/// When NetworkManager next reports a network: a state of 60 or more, or a primary connection.
pub(crate) async fn next_up(connection: &zbus::Connection) -> JoinHandle<Instant> {
    let rule = MatchRule::builder().msg_type(Type::Signal).path(PATH).unwrap().build();
    let signals = within(MessageStream::for_match_rule(rule, connection, None)).await;
    let mut signals = signals.unwrap();
    tokio::spawn(async move {
        loop {
            let signal = signals.next().await.unwrap().unwrap();
            let now = Instant::now();
            let body = signal.body();
            let member = signal.header().member().map(|it| it.to_string());
            let is_up = match member.as_deref() {
                Some("StateChanged") => body.deserialize::<u32>().unwrap() >= 60,
                Some("PropertiesChanged") => {
                    type Changes = std::collections::HashMap<String, OwnedValue>;
                    let (_, changes, _): (String, Changes, Vec<String>) =
                        body.deserialize().unwrap();
                    changes.get("PrimaryConnection").is_some_and(|it| {
                        it.downcast_ref::<ObjectPath<'_>>().unwrap().as_str() != "/"
                    })
                }
                _ => false,
            };
            if is_up {
                return now;
            }
        }
    })
}
