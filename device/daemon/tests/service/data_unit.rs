//! The unit that creates the directory on the data partition: its commands, in a temporary directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::is_root;

const UNIT: &str = include_str!("../../../data/fedecks-data.service");

/// A user that every system has.
const SERVICE_USER: &str = "daemon";

/// Runs the unit's commands with `partition` instead of /data.
fn run(partition: &Path) {
    let lines = UNIT.replace("\\\n", " ");
    for line in lines.lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
        let may_fail = line.starts_with('-');
        let command = line
            .trim_start_matches('-')
            .replace("/data/", &format!("{}/", partition.display()))
            .replace("fedecks:fedecks", &format!("{SERVICE_USER}:"))
            .replace("$$", "$");
        // systemd and the shell read these quotes alike.
        let status = Command::new("/bin/sh").args(["-c", &command]).status().unwrap();
        assert!(status.success() || may_fail, "{command}: {status}");
    }
}

#[test]
fn the_directory_and_its_files_are_given_to_the_user() {
    if !is_root() {
        return;
    }
    let user = nix::unistd::User::from_name(SERVICE_USER).unwrap().unwrap().uid.as_raw();
    let partition = tempfile::tempdir().unwrap();
    let file = |name: &str| partition.path().join(name);
    let owner = |name: &str| fs::symlink_metadata(file(name)).unwrap().uid();
    run(partition.path());
    assert_eq!(owner("fedecks"), user);
    assert_eq!(fs::metadata(file("fedecks")).unwrap().permissions().mode() & 0o777, 0o700);

    for name in ["roots", "also-roots", "fedecks/token", "fedecks/.made", "fedecks/with space"] {
        fs::write(file(name), "").unwrap();
    }
    for name in ["fedecks", "fedecks/token"] {
        chown(file(name), Some(4242), None).unwrap();
    }
    // As the service's user can where the kernel does not forbid it.
    fs::hard_link(file("roots"), file("fedecks/time")).unwrap();
    symlink("../also-roots", file("fedecks/identity")).unwrap();
    run(partition.path());
    for (name, expected) in [
        ("roots", 0),
        ("also-roots", 0),
        ("fedecks", user),
        ("fedecks/token", user),
        ("fedecks/.made", user),
        ("fedecks/with space", user),
    ] {
        assert_eq!(owner(name), expected, "{name}");
    }
}
