//! A private system bus: the real dbus-daemon with Debian's configuration and the shipped policy.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{PATIENCE, has_programs, is_root, skip, within};

const POLICY: &str = include_str!("../../../../data/org.fedecks.Device1.conf");

/// Of every Debian system.
const SYSTEM_CONFIGURATION: &str = "/usr/share/dbus-1/system.conf";

const PROGRAMS: [(&str, &str); 4] = [
    ("dbus-daemon", "dbus-daemon"),
    ("gdbus", "libglib2.0-bin"),
    ("busctl", "systemd"),
    ("setpriv", "util-linux"),
];

/// A user of the bus. Only the daemon sees user and group tables with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    Root = 0,
    /// In the group `fedecks`.
    Member = 60_101,
    /// In no relevant group.
    Stranger = 60_102,
    /// `fedecks`, the user of the service.
    Service = 60_103,
}

const GROUP: u32 = 60_100;

/// A bus in a temporary folder. Dropping it ends the daemon.
pub(crate) struct Bus {
    // Dropped before its folder, which it uses until its end.
    daemon: Option<Child>,
    folder: TempDir,
    /// How many monitors were started.
    monitored: Cell<usize>,
}

impl Bus {
    /// A running bus with the shipped policy. None, and the test is skipped, if there can be no bus.
    pub(crate) async fn start() -> Option<Self> {
        let mut bus = Self::prepare()?;
        bus.run().await;
        Some(bus)
    }

    /// The same, not started yet.
    pub(crate) fn prepare() -> Option<Self> {
        if !is_root() || !has_programs(&PROGRAMS) {
            return None;
        }
        let Ok(system) = fs::read_to_string(SYSTEM_CONFIGURATION) else {
            skip("the package dbus-system-bus-common is missing");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let bus = Self { daemon: None, folder, monitored: Cell::new(0) };
        fs::write(bus.file("bus.conf"), bus.configuration(&system)).unwrap();
        fs::create_dir(bus.file("system.d")).unwrap();
        bus.add_policy("org.fedecks.Device1", POLICY);
        let users = [User::Root, User::Member, User::Stranger, User::Service].map(|user| {
            let name = if user == User::Service { "fedecks" } else { &*format!("{user:?}") };
            format!("{}:x:{1}:{1}::/:/bin/false\n", name.to_lowercase(), user as u32)
        });
        fs::write(bus.file("passwd"), users.concat()).unwrap();
        fs::write(bus.file("group"), format!("root:x:0:\nfedecks:x:{GROUP}:\n")).unwrap();
        Some(bus)
    }

    /// Starts the daemon, which may have run before.
    pub(crate) async fn run(&mut self) {
        // With user and group tables that have the policy's names.
        let script = "mount --bind \"$0/passwd\" /etc/passwd && \
            mount --bind \"$0/group\" /etc/group && \
            exec dbus-daemon --config-file=\"$0/bus.conf\" --nofork --nopidfile --print-address";
        let mut daemon = Command::new("unshare")
            .args(["--mount", "--propagation=private", "sh", "-c", script])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // It logs every call that the policy refuses.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
        let address = within(lines.next_line()).await.unwrap().expect("dbus-daemon did not start");
        assert!(address.starts_with("unix:path="), "{address}");
        self.daemon = Some(daemon);
    }

    /// Ends the daemon, and with it every connection.
    pub(crate) async fn stop(&mut self) {
        within(self.daemon.take().unwrap().kill()).await.unwrap();
    }

    /// Stops the daemon's process, or continues it.
    pub(crate) fn pause(&self, is_paused: bool) {
        let id = self.daemon.as_ref().and_then(Child::id).unwrap();
        let signal = if is_paused { Signal::SIGSTOP } else { Signal::SIGCONT };
        nix::sys::signal::kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
    }

    /// Removes the policy of the service before the start.
    pub(crate) fn remove_policy(&self) {
        fs::remove_file(self.file("system.d/org.fedecks.Device1.conf")).unwrap();
    }

    /// Adds the policy of a service before the start.
    pub(crate) fn add_policy(&self, service: &str, policy: &str) {
        fs::write(self.file(&format!("system.d/{service}.conf")), policy).unwrap();
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.file("socket").display())
    }

    /// A connection of root.
    pub(crate) async fn connect(&self) -> zbus::Connection {
        let builder = zbus::connection::Builder::address(self.address().as_str()).unwrap();
        within(builder.method_timeout(PATIENCE).build()).await.unwrap()
    }

    /// Runs a command as this user to its end.
    pub(crate) async fn run_as(&self, user: User, words: &[&str]) -> Output {
        within(self.command(user, words).output()).await.unwrap()
    }

    /// Shows this user the signals of the service, by gdbus.
    pub(crate) async fn monitor(&self, user: User) -> Monitor {
        let mut command =
            self.command(user, &["gdbus", "monitor", "--system", "--dest", "org.fedecks.Device1"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut monitor = Monitor { lines, _child: child };
        let found = monitor.until("The name org.fedecks.Device1 is owned by").await;
        let owner = found.last().and_then(|line| line.rsplit(' ').next()).unwrap().to_owned();
        // It subscribes to the signals only after this line.
        let before = self.monitored.replace(self.monitored.get() + 1);
        let connection = self.connect().await;
        within(async { while self.listeners(&connection, &owner).await <= before {} }).await;
        monitor
    }

    /// The number of connections that subscribed to all signals of this one.
    async fn listeners(&self, connection: &zbus::Connection, sender: &str) -> usize {
        let statistics = Some("org.freedesktop.DBus.Debug.Stats");
        let (bus, object) = (Some("org.freedesktop.DBus"), "/org/freedesktop/DBus");
        let reply = connection.call_method(bus, object, statistics, "GetAllMatchRules", &()).await;
        let rules: HashMap<String, Vec<String>> = reply.unwrap().body().deserialize().unwrap();
        let rule = format!("type='signal',sender='{sender}'");
        rules.values().filter(|rules| rules.contains(&rule)).count()
    }

    fn command(&self, user: User, words: &[&str]) -> Command {
        let id = user as u32;
        let groups = match user {
            User::Root | User::Stranger => "--clear-groups".to_owned(),
            User::Member | User::Service => format!("--groups={GROUP}"),
        };
        let mut command = Command::new("setpriv");
        command
            .args([format!("--reuid={id}"), format!("--regid={id}"), groups])
            .args(words)
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.address())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The system's configuration, without the policies of other services and what only the machine's daemon
    /// needs.
    fn configuration(&self, system: &str) -> String {
        let own = ["<user>", "<fork/>", "<pidfile>", "<syslog/>", "<listen>", "system_servicedirs"];
        let others = ["<servicehelper>", "/etc/dbus-1/"];
        system
            .lines()
            .filter(|line| !own.iter().chain(&others).any(|word| line.contains(word)))
            .map(|line| match line.trim() {
                "<type>system</type>" => format!("{line}\n<listen>{}</listen>\n", self.address()),
                _ => format!("{line}\n"),
            })
            .collect()
    }
}

/// A running `gdbus monitor`.
pub(crate) struct Monitor {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Monitor {
    /// All lines up to the next one that contains `text`.
    pub(crate) async fn until(&mut self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let Some(line) = within(self.lines.next_line()).await.unwrap() else {
                panic!("the monitor ended before {text:?}: {seen:#?}");
            };
            seen.push(line);
            if seen.last().is_some_and(|line| line.contains(text)) {
                return seen;
            }
        }
    }
}
