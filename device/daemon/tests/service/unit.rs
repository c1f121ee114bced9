//! The shipped unit in a booted systemd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::machine::Machine;
use crate::support::{By, Cloud, Seen, cloud, credentials, skip};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/fedecksd.service")
}

/// Runs systemd-analyze. Returns whether it succeeded, and its output.
fn analyze(words: &[&str], unit: &Path) -> Option<(bool, String)> {
    let Ok(output) = Command::new("systemd-analyze").args(words).arg(unit).output() else {
        skip("systemd-analyze is missing, of the package systemd");
        return None;
    };
    let printed = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Some((output.status.success(), printed.concat()))
}

#[test]
fn systemd_verifies_the_units_except_for_two_newer_keys() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("fedecksd.service");
    // The program need not be installed.
    let text = fs::read_to_string(shipped()).unwrap();
    let here = text.replace("/usr/bin/fedecksd", env!("CARGO_BIN_EXE_fedecksd"));
    assert_ne!(here, text);
    fs::write(&unit, here).unwrap();
    let is_known = |line: &str| {
        ["RestartSteps", "RestartMaxDelaySec"].iter().any(|key| {
            line.contains(&format!("Unknown key '{key}' in section [Service]"))
                || line.contains(&format!("Unknown key name '{key}' in section 'Service'"))
        })
    };
    for unit in [unit, shipped().with_file_name("fedecks-data.service")] {
        let Some((good, printed)) = analyze(&["verify", "--man=no"], &unit) else { return };
        // Other units of this machine are loaded with it.
        let mut ours = printed.lines().filter(|line| line.contains("fedecks"));
        assert!(good && ours.all(is_known), "{printed}");
    }
}

#[test]
fn the_exposure_level_of_the_sandbox_is_at_most_two() {
    let words = ["security", "--offline=true", "--threshold=20", "--no-pager"];
    let Some((good, printed)) = analyze(&words, &shipped()) else { return };
    assert!(good, "{printed}");
}

#[test]
fn the_unit_requires_no_mount_and_no_network() {
    let text = fs::read_to_string(shipped()).unwrap();
    // StateDirectory= and its relatives, and PrivateTmp=, imply Requires= on the mounts of their folders.
    let dependencies = "Requires BindsTo Requisite RequiresMountsFor StateDirectory CacheDirectory \
                        LogsDirectory PrivateTmp WorkingDirectory";
    for key in dependencies.split(' ') {
        assert!(!text.lines().any(|line| line.starts_with(&format!("{key}="))), "{key}");
    }
    assert!(!text.lines().any(|line| !line.starts_with('#') && line.contains("network-online")));
}

/// A cloud and a machine for it.
async fn boot() -> Option<(Cloud, Machine)> {
    let cloud = cloud().await;
    let machine = Machine::boot(cloud.address, "/var/lib/fedecks").await?;
    Some((cloud, machine))
}

const CONFIGURATION: &str = "/etc/fedecks/fedecks.toml";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_without_a_network_and_restarts_when_it_hangs() {
    let Some((_cloud, machine)) = boot().await else { return };
    machine.drop_in("PrivateNetwork=yes\nWatchdogSec=1s\nRestartSec=100ms").await;
    machine.run(&["systemctl", "start", "fedecksd"]).await;
    let process = machine.process().await;
    machine.service_is("StatusText", "unregistered: waiting for a login").await;
    // Three times the watchdog's timeout.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(machine.service("MainPID", |_| true).await, process);
    machine.service_is("NRestarts", "0").await;
    machine.service_is("ActiveState", "active").await;
    machine.run(&["systemctl", "kill", "--signal=STOP", "fedecksd"]).await;
    machine.service_is("NRestarts", "1").await;
    machine.service_is("ActiveState", "active").await;
    assert_ne!(machine.process().await, process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_as_its_user_and_logs_in_by_a_system_credential() {
    let Some((mut cloud, machine)) = boot().await else { return };
    fs::create_dir_all(machine.path("/etc/credstore")).unwrap();
    fs::write(machine.path("/etc/credstore/fedecks.provision"), credentials()).unwrap();
    machine.run(&["systemctl", "start", "fedecksd"]).await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    machine.has("/var/lib/fedecks/token").await;
    let owner = machine.run(&["stat", "--format=%U %G %a", "/var/lib/fedecks/token"]).await;
    assert_eq!(owner, "fedecks fedecks 600\n");
    let process = machine.process().await;
    assert_eq!(machine.run(&["ps", "-o", "user=", "-p", &process]).await, "fedecks\n");
    machine.run(&["systemctl", "restart", "fedecksd"]).await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_configuration_is_retried_until_it_is_valid() {
    let Some((_cloud, machine)) = boot().await else { return };
    let file = machine.path(CONFIGURATION);
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, "nonsense\n").unwrap();
    machine.run(&["systemctl", "start", "--no-block", "fedecksd"]).await;
    machine.service_is("ExecMainStatus", "78").await;
    machine.service_is("SubState", "auto-restart").await;
    fs::write(&file, good).unwrap();
    machine.service_is("ActiveState", "active").await;
    // There was no time for a second one, as the first wait is 5 s.
    machine.service_is("NRestarts", "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_action_can_trigger_a_privileged_unit() {
    let Some((mut cloud, machine)) = boot().await else { return };
    let script = machine.path("/etc/unreachable");
    fs::write(&script, "#!/bin/sh\n: >/run/fedecks/unreachable\n").unwrap();
    machine.run(&["chmod", "755", "/etc/unreachable"]).await;
    // Like in docs/device.md, but without restarting the machine.
    let path = "[Path]\nPathExists=/run/fedecks/unreachable\n";
    let service = "[Service]\nType=oneshot\nExecStart=/usr/bin/rm -f /run/fedecks/unreachable\n\
        ExecStart=/usr/bin/touch /run/restarted\n";
    for (unit, text) in [("path", path), ("service", service)] {
        let file = format!("/etc/systemd/system/fedecks-unreachable.{unit}");
        fs::write(machine.path(&file), text).unwrap();
    }
    let file = machine.path(CONFIGURATION);
    let text = fs::read_to_string(&file).unwrap();
    let lines = "unreachable_action = \"/etc/unreachable\"\nunreachable_after = \"2s\"\n";
    fs::write(&file, text + lines).unwrap();
    machine.run(&["systemctl", "start", "fedecks-unreachable.path", "fedecksd"]).await;
    machine.log_in().await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    cloud.stop().await;
    machine.has("/run/restarted").await;
    machine.service_is("ActiveState", "active").await;
}
