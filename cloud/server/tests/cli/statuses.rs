//! The exit status of every command, by the table at the end of `--help`.

use std::collections::BTreeSet;
use std::fs;

use fedecks_testing::cloud_process::CloudProgram;
use fedecks_testing::{PASSWORD, USER};

use crate::PROGRAM;

/// Every command, with arguments that it accepts.
const COMMANDS: &[&[&str]] = &[
    &["check-config"],
    &["serve"],
    &["account", "add", "ford"],
    &["account", "passwd", "ford"],
    &["account", "remove", "ford"],
    &["account", "list"],
    &["device", "list"],
    &["device", "label", "d", "x"],
    &["device", "revoke", "d"],
    &["device", "block", "d"],
    &["device", "unblock", "d"],
    &["device", "forget", "d"],
    &["token", "add", "t", "--role", "read"],
    &["token", "list"],
    &["token", "revoke", "t"],
    &["audit", "list"],
    &["webhook", "dead-letters"],
    &["store", "init"],
    &["clock", "show"],
    &["clock", "accept"],
    &["backup", "copy"],
    &["restore", "copy"],
    &["secret", "generate"],
];

async fn status(program: &CloudProgram, arguments: &[&str], input: &str) -> (i32, String) {
    let output = program.output(arguments, input).await;
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The codes in a text whose lines begin with them.
fn codes<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<i32> {
    lines.filter_map(|line| line.trim().split([' ', '|']).next()?.parse().ok()).collect()
}

#[tokio::test]
async fn wrong_usage_of_every_command_has_status_2() {
    let program = CloudProgram::new(PROGRAM);
    for command in COMMANDS {
        let (code, said) = status(&program, &[command, &["--nonsense"][..]].concat(), "").await;
        assert!(code == 2 && said.contains("--nonsense"), "{command:?}: {code}: {said}");
        let (code, said) = status(&program, &[command, &["--help"][..]].concat(), "").await;
        assert_eq!((code, &*said), (0, ""), "{command:?}");
    }
    assert_eq!(fs::read_dir(program.folder.path()).unwrap().count(), 0, "nothing is created");
}

#[tokio::test]
async fn a_wrong_configuration_has_status_78_for_every_command() {
    let program = CloudProgram::configured(PROGRAM, "[limits]\nconnections = \"many\"");
    for command in COMMANDS.iter().filter(|command| command[0] != "secret") {
        let (code, said) = status(&program, command, "long enough\n").await;
        assert!(code == 78 && said.contains("line 5: limits.connections"), "{command:?}: {said}");
    }
    assert_eq!(fs::read_dir(program.folder.path()).unwrap().count(), 1, "nothing is created");
}

#[tokio::test]
async fn a_missing_store_has_status_78_for_every_command() {
    let program = CloudProgram::configured(PROGRAM, "");
    let makes_one =
        |command: &[&str]| matches!(command, [_, "add", ..] | ["store" | "restore", ..]);
    for command in COMMANDS.iter().filter(|command| !makes_one(command)) {
        let (code, said) = status(&program, command, "long enough\n").await;
        let needs_none = matches!(command[0], "secret" | "clock");
        assert_eq!(code, if needs_none { 0 } else { 78 }, "{command:?}: {said}");
        assert!(needs_none || said.contains("no store at "), "{command:?}: {said}");
    }
    assert!(!program.folder.path().join("fedecks-data/fedecks.sqlite").exists());
}

#[tokio::test]
async fn every_failure_has_the_status_of_the_table() {
    let program = CloudProgram::new(PROGRAM);
    program.add_account(USER, PASSWORD).await;
    program.run(&["token", "add", "ci", "--role", "read"], "").await;
    fs::write(program.folder.path().join("copy"), "").unwrap();
    for (arguments, input, code, problem) in [
        (&["account", "add", USER][..], "long enough", 1, "already exists"),
        (&["account", "add", " "], "long enough", 2, "an account's name has"),
        (&["account", "add", "ford"], "short", 2, "the password has 5 characters"),
        (&["account", "passwd", "unknown"], "long enough", 1, "no such account: \"unknown\""),
        (&["account", "passwd", USER], "short", 2, "the password has 5 characters"),
        (&["account", "remove", "unknown"], "", 1, "no such account: \"unknown\""),
        (&["device", "label", "typo", "x"], "", 1, "no such device: typo"),
        (&["device", "label", "typo", " x "], "", 2, "a label has"),
        (&["device", "revoke", "typo"], "", 1, "no such device: typo"),
        (&["device", "revoke", "a b"], "", 2, "a device id consists of"),
        (&["device", "block", "typo"], "", 1, "no such device: typo"),
        (&["device", "unblock", "typo"], "", 1, "no such device: typo"),
        (&["device", "forget", "typo"], "", 1, "no such device: typo"),
        (&["token", "add", "ci", "--role", "read"], "", 1, "already exists"),
        (&["token", "add", "a b", "--role", "read"], "", 2, "name"),
        (&["token", "add", "x", "--role", "read", "--expires", "0d"], "", 2, "at least 1s"),
        (&["token", "revoke", "typo"], "", 1, "no such API token: \"typo\""),
        (&["audit", "list", "--device", "a b"], "", 2, "a device id consists of"),
        (&["store", "init"], "", 1, "already exists"),
        (&["backup", "copy"], "", 1, "already exists"),
        (&["restore", "nowhere"], "", 1, "no such backup: nowhere"),
        (&["restore", "copy"], "", 1, "copy"),
        (&["check-config", "--user", "no-such-user"], "", 1, "no-such-user"),
        (&["serve", "--listen", "192.0.2.1:9"], "", 1, "no interface of this machine"),
    ] {
        // Anyone but root checks as itself.
        if arguments.contains(&"--user") && !nix::unistd::geteuid().is_root() {
            continue;
        }
        let (ended, said) = status(&program, arguments, input).await;
        assert_eq!(ended, code, "{arguments:?}: {said}");
        assert!(said.contains(problem) && !said.contains("panicked"), "{arguments:?}: {said}");
    }
    let listed = program.run(&["device", "list"], "").await;
    assert_eq!(listed, "", "no device was made");
}

#[tokio::test]
async fn help_man_page_and_manual_have_the_same_statuses() {
    let program = CloudProgram::new(PROGRAM);
    let help = program.run(&["--help"], "").await;
    let table = help.split_once("Exit status:\n").expect(&help).1;
    let in_help = codes(table.lines().take_while(|line| !line.is_empty()));
    assert_eq!(in_help, BTreeSet::from([0, 1, 2, 75, 78, 79, 130]));
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(data.join("data/man/fedecks-cloud.8")).unwrap();
    let page = page.split_once(".SH EXIT STATUS\n").unwrap().1.split_once(".SH").unwrap().0;
    assert_eq!(codes(page.lines()), in_help, "the man page");
    let manual = fs::read_to_string(data.join("../docs/cloud.md")).unwrap();
    let manual = manual.split_once("## Exit status\n").unwrap().1.split_once("\n#").unwrap().0;
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| "));
    assert_eq!(codes(rows), in_help, "the manual");
}
