//! The shipped unit in a booted systemd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::cloud::{By, Cloud, PASSWORD, Seen, USER};
use crate::support::machine::Machine;
use crate::support::{skip, within};

const LOOPBACK: &str = "127.0.0.1:0";

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/fedecksd.service")
}

/// Runs systemd-analyze; gives whether it was content, and all that it said.
fn analyze(words: &[&str], unit: &Path) -> Option<(bool, String)> {
    let Ok(output) = Command::new("systemd-analyze").args(words).arg(unit).output() else {
        skip("systemd-analyze is missing, of the package systemd");
        return None;
    };
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Some((output.status.success(), said.concat()))
}

#[test]
fn systemd_has_nothing_to_say_against_the_unit_but_that_it_is_older_than_two_keys() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("fedecksd.service");
    // What is checked here is the unit, not that its program is installed.
    let text = fs::read_to_string(shipped()).unwrap();
    let here = text.replace("/usr/bin/fedecksd", env!("CARGO_BIN_EXE_fedecksd"));
    assert_ne!(here, text);
    fs::write(&unit, here).unwrap();
    let Some((good, said)) = analyze(&["verify", "--man=no"], &unit) else { return };
    let others: Vec<&str> = said
        .lines()
        .filter(|line| {
            !["RestartSteps", "RestartMaxDelaySec"]
                .iter()
                .any(|key| line.contains(&format!("Unknown key '{key}' in section [Service]"))
                    || line.contains(&format!("Unknown key name '{key}' in section 'Service'")))
        })
        // Units of this machine itself are loaded with it.
        .filter(|line| line.contains("fedecksd"))
        .collect();
    assert!(good && others.is_empty(), "{said}");
}

#[test]
fn systemd_has_nothing_to_say_against_the_unit_of_the_data_partition() {
    let words = ["verify", "--man=no"];
    let Some((good, said)) = analyze(&words, &shipped().with_file_name("fedecks-data.service"))
    else {
        return;
    };
    assert!(good && !said.contains("fedecks"), "{said}");
}

#[test]
fn the_sandbox_leaves_an_exposure_of_at_most_two() {
    let words = ["security", "--offline=true", "--threshold=20", "--no-pager"];
    let Some((good, said)) = analyze(&words, &shipped()) else { return };
    assert!(good, "{said}");
}

#[test]
fn no_mount_and_no_network_is_required() {
    let text = fs::read_to_string(shipped()).unwrap();
    // StateDirectory= and its like, and PrivateTmp=, imply Requires= on the mounts of their folders.
    for key in [
        "Requires",
        "BindsTo",
        "Requisite",
        "RequiresMountsFor",
        "StateDirectory",
        "CacheDirectory",
        "LogsDirectory",
        "PrivateTmp",
        "WorkingDirectory",
    ] {
        assert!(!text.lines().any(|line| line.starts_with(&format!("{key}="))), "{key}");
    }
    assert!(!text.lines().any(|line| !line.starts_with('#') && line.contains("network-online")));
}

/// That the service never ended, and nobody saw a reason to end it.
async fn stayed_up(machine: &Machine, process: &str) {
    assert_eq!(machine.service("MainPID", |_| true).await, process);
    machine.service("NRestarts", |count| count == "0").await;
    machine.service("ActiveState", |state| state == "active").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_network_it_is_ready_and_a_watchdog_starts_it_anew_when_it_hangs() {
    let cloud = Cloud::start(LOOPBACK.parse().unwrap()).await;
    let Some(machine) = Machine::boot(&cloud, "/var/lib/fedecks").await else { return };
    machine.drop_in("PrivateNetwork=yes\nWatchdogSec=1s\nRestartSec=100ms").await;
    machine.run(&["systemctl", "start", "fedecksd"]).await;
    let process = machine.service("MainPID", |process| process != "0").await;
    machine.service("StatusText", |text| text == "unregistered: waiting for a login").await;
    // Three times what the watchdog allows; nothing else happens meanwhile.
    tokio::time::sleep(Duration::from_secs(3)).await;
    stayed_up(&machine, &process).await;
    machine.run(&["systemctl", "kill", "--signal=STOP", "fedecksd"]).await;
    machine.service("NRestarts", |count| count == "1").await;
    machine.service("ActiveState", |state| state == "active").await;
    assert_ne!(machine.service("MainPID", |process| process != "0").await, process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_as_its_user_and_logs_in_once_with_a_credential_of_the_system() {
    let mut cloud = Cloud::start(LOOPBACK.parse().unwrap()).await;
    let Some(machine) = Machine::boot(&cloud, "/var/lib/fedecks").await else { return };
    fs::create_dir_all(machine.path("/etc/credstore")).unwrap();
    let credential = format!("username = {USER:?}\npassword = {PASSWORD:?}\n");
    fs::write(machine.path("/etc/credstore/fedecks.provision"), credential).unwrap();
    machine.run(&["systemctl", "start", "fedecksd"]).await;
    assert_eq!(within(cloud.next()).await, Seen::Connected(By::Credentials));
    machine.has("/var/lib/fedecks/token").await;
    let owner = machine.run(&["stat", "--format=%U %G %a", "/var/lib/fedecks/token"]).await;
    assert_eq!(owner, "fedecks fedecks 600\n");
    let process = machine.service("MainPID", |process| process != "0").await;
    assert_eq!(machine.run(&["ps", "-o", "user=", "-p", &process]).await, "fedecks\n");
    machine.run(&["systemctl", "restart", "fedecksd"]).await;
    assert_eq!(within(cloud.next()).await, Seen::Connected(By::Token));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_tried_again_and_works_as_soon_as_it_is_right() {
    let cloud = Cloud::start(LOOPBACK.parse().unwrap()).await;
    let Some(machine) = Machine::boot(&cloud, "/var/lib/fedecks").await else { return };
    let file = machine.path("/etc/fedecks/fedecks.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, "nonsense\n").unwrap();
    machine.run(&["systemctl", "start", "--no-block", "fedecksd"]).await;
    machine.service("ExecMainStatus", |status| status == "78").await;
    machine.service("SubState", |state| state == "auto-restart").await;
    fs::write(&file, good).unwrap();
    machine.service("ActiveState", |state| state == "active").await;
    // The first wait is 5 s, so there was time for no other.
    machine.service("NRestarts", |count| count == "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_action_leaves_a_note_for_a_unit_with_more_rights() {
    let mut cloud = Cloud::start(LOOPBACK.parse().unwrap()).await;
    let Some(machine) = Machine::boot(&cloud, "/var/lib/fedecks").await else { return };
    let script = machine.path("/etc/unreachable");
    fs::write(&script, "#!/bin/sh\n: >/run/fedecks/unreachable\n").unwrap();
    machine.run(&["chmod", "755", "/etc/unreachable"]).await;
    // As docs/device.md has it, but for the restart of what is this machine as well.
    let path = "[Path]\nPathExists=/run/fedecks/unreachable\n";
    let service = "[Service]\nType=oneshot\nExecStart=/usr/bin/rm -f /run/fedecks/unreachable\n\
        ExecStart=/usr/bin/touch /run/restarted\n";
    for (unit, text) in [("path", path), ("service", service)] {
        let file = format!("/etc/systemd/system/fedecks-unreachable.{unit}");
        fs::write(machine.path(&file), text).unwrap();
    }
    let file = machine.path("/etc/fedecks/fedecks.toml");
    let text = fs::read_to_string(&file).unwrap();
    let lines = "unreachable_action = \"/etc/unreachable\"\nunreachable_after = \"2s\"\n";
    fs::write(&file, text + lines).unwrap();
    machine.run(&["systemctl", "start", "fedecks-unreachable.path", "fedecksd"]).await;
    machine.log_in().await;
    assert_eq!(within(cloud.next()).await, Seen::Connected(By::Credentials));
    cloud.stop().await;
    machine.has("/run/restarted").await;
    machine.service("ActiveState", |state| state == "active").await;
}
