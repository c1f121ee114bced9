//! A private system bus: the real dbus-daemon with Debian's rules and the shipped policy.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{skip, within};

const POLICY: &str = include_str!("../../../../data/org.fedecks.Device1.conf");

/// Rules that every Debian system has.
const SYSTEM_CONFIGURATION: &str = "/usr/share/dbus-1/system.conf";

/// The programs that the tests need, with their packages.
const PROGRAMS: [(&str, &str); 4] = [
    ("dbus-daemon", "dbus-daemon"),
    ("gdbus", "libglib2.0-bin"),
    ("busctl", "systemd"),
    ("setpriv", "util-linux"),
];

/// A user of the bus. Only the daemon has user and group tables with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    /// Of the group `fedecks`.
    Member,
    /// Of no group that matters.
    Stranger,
    /// `fedecks`, which the service runs as.
    Service,
}

const GROUP: u32 = 60_100;

impl User {
    fn id(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Member => 60_101,
            Self::Stranger => 60_102,
            Self::Service => 60_103,
        }
    }

    /// What to put before a command that this user runs.
    pub(crate) fn words(self) -> Vec<String> {
        let id = self.id();
        let groups = match self {
            Self::Root | Self::Stranger => "--clear-groups".to_owned(),
            Self::Member | Self::Service => format!("--groups={GROUP}"),
        };
        ["setpriv".to_owned(), format!("--reuid={id}"), format!("--regid={id}"), groups].into()
    }
}

/// A bus in a folder of its own. Dropping it ends the daemon.
pub(crate) struct Bus {
    // Before its folder, for which it looks until its end.
    daemon: Option<Child>,
    folder: TempDir,
    /// How many monitors were started.
    monitored: Cell<usize>,
}

impl Bus {
    /// A running bus with the shipped policy; none where it cannot be had, which is said then.
    pub(crate) async fn start() -> Option<Self> {
        let mut bus = Self::prepare()?;
        bus.run().await;
        Some(bus)
    }

    /// The same, not started yet.
    pub(crate) fn prepare() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("users of a bus are changed by root");
            return None;
        }
        for (program, package) in PROGRAMS {
            let path = std::env::var_os("PATH").unwrap_or_default();
            if !std::env::split_paths(&path).any(|folder| folder.join(program).exists()) {
                skip(&format!("{program} is missing, of the package {package}"));
                return None;
            }
        }
        let Ok(system) = fs::read_to_string(SYSTEM_CONFIGURATION) else {
            skip(&format!(
                "{SYSTEM_CONFIGURATION} is missing, of the package dbus-system-bus-common"
            ));
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let bus = Self { daemon: None, folder, monitored: Cell::new(0) };
        fs::write(bus.file("bus.conf"), bus.configuration(&system)).unwrap();
        fs::create_dir(bus.file("system.d")).unwrap();
        bus.set_policy(Some(POLICY));
        let users = [
            (User::Root, "root"),
            (User::Member, "member"),
            (User::Stranger, "stranger"),
            (User::Service, "fedecks"),
        ];
        let users =
            users.map(|(user, name)| format!("{name}:x:{0}:{0}::/:/bin/false\n", user.id()));
        fs::write(bus.file("passwd"), users.concat()).unwrap();
        fs::write(bus.file("group"), format!("root:x:0:\nfedecks:x:{GROUP}:\n")).unwrap();
        Some(bus)
    }

    /// Starts the daemon, anew if it ran before.
    pub(crate) async fn run(&mut self) {
        // Its own user and group tables, for the policy's names.
        let script = "mount --bind \"$0/passwd\" /etc/passwd && \
            mount --bind \"$0/group\" /etc/group && \
            exec dbus-daemon --config-file=\"$0/bus.conf\" --nofork --nopidfile --print-address";
        let mut daemon = Command::new("unshare")
            .args(["--mount", "--propagation=private", "sh", "-c", script])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // It writes down every call that the policy refuses.
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

    /// Lets the daemon do nothing at all, or go on.
    pub(crate) fn pause(&self, is_paused: bool) {
        let id = self.daemon.as_ref().and_then(Child::id).unwrap();
        let signal = if is_paused { Signal::SIGSTOP } else { Signal::SIGCONT };
        nix::sys::signal::kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
    }

    /// The policy that a daemon reads at its start.
    pub(crate) fn set_policy(&self, policy: Option<&str>) {
        let file = self.file("system.d/org.fedecks.Device1.conf");
        match policy {
            Some(policy) => fs::write(file, policy).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
    }

    /// Adds the policy of another service, which a daemon reads at its start.
    pub(crate) fn add_policy(&self, service: &str, policy: &str) {
        fs::write(self.file(&format!("system.d/{service}.conf")), policy).unwrap();
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.file("socket").display())
    }

    /// A connection of root's.
    pub(crate) async fn connect(&self) -> zbus::Connection {
        let builder = zbus::connection::Builder::address(self.address().as_str()).unwrap();
        within(builder.method_timeout(super::PATIENCE).build()).await.unwrap()
    }

    /// Lets this user run a program on this bus to its end.
    pub(crate) async fn run_as(&self, user: User, words: &[&str]) -> Output {
        within(self.command(user, words).output()).await.unwrap()
    }

    /// Lets this user see with gdbus what the service signals.
    pub(crate) async fn monitor(&self, user: User) -> Monitor {
        let mut command =
            self.command(user, &["gdbus", "monitor", "--system", "--dest", "org.fedecks.Device1"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut monitor = Monitor { lines, _child: child };
        let found = monitor.until("The name org.fedecks.Device1 is owned by").await;
        let owner = found.last().and_then(|line| line.rsplit(' ').next()).unwrap().to_owned();
        // It asks for the signals after it has said so.
        let before = self.monitored.replace(self.monitored.get() + 1);
        let connection = self.connect().await;
        within(async { while self.listeners(&connection, &owner).await <= before {} }).await;
        monitor
    }

    /// How many connections are sent all signals of this one.
    async fn listeners(&self, connection: &zbus::Connection, sender: &str) -> usize {
        let statistics = Some("org.freedesktop.DBus.Debug.Stats");
        let (bus, object) = (Some("org.freedesktop.DBus"), "/org/freedesktop/DBus");
        let reply = connection.call_method(bus, object, statistics, "GetAllMatchRules", &()).await;
        let rules: HashMap<String, Vec<String>> = reply.unwrap().body().deserialize().unwrap();
        let rule = format!("type='signal',sender='{sender}'");
        rules.values().filter(|rules| rules.contains(&rule)).count()
    }

    fn command(&self, user: User, words: &[&str]) -> Command {
        let before = user.words();
        let mut command = Command::new(&before[0]);
        command
            .args(&before[1..])
            .args(words)
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.address())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    /// The system's configuration without what concerns the machine's own daemon. Other services'
    /// policies are left out.
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
