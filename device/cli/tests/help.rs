//! The help of the command `fedecks`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.

use std::process::Command;

/// Its exit status and what it printed to standard output and to standard error.
fn fedecks(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_fedecks")).args(arguments).env_clear().output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Its standard output, after it succeeded and printed nothing else.
fn printed_by(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = fedecks(arguments);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
    stdout
}

const SUBCOMMANDS: [&str; 11] = [
    "login",
    "logout",
    "send",
    "send-raw",
    "request",
    "requests",
    "reconnect",
    "listen",
    "status",
    "queue",
    "events",
];

#[test]
fn every_subcommand_has_a_help_of_at_most_100_columns() {
    let main = printed_by(&["--help"]);
    assert!(main.contains("Exit status:\n  0    success"), "{main}");
    for subcommand in SUBCOMMANDS {
        assert!(main.contains(&format!("  {subcommand}  ")), "{main}");
        let help = printed_by(&[subcommand, "--help"]);
        assert!(help.contains(&format!("Usage: fedecks {subcommand}")), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
    assert_eq!(printed_by(&["--version"]), format!("fedecks {}\n", env!("CARGO_PKG_VERSION")));
    let (code, stdout, usage) = fedecks(&[]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(usage.contains("Usage: fedecks"), "{usage}");
}

/// The codes that lines begin with.
fn codes(text: &str) -> Vec<u8> {
    let code = |line: &str| line.trim_start_matches(['|', ' ']).split(' ').next()?.parse().ok();
    text.lines().filter_map(code).collect()
}

#[test]
fn help_man_page_and_manual_have_the_same_statuses() {
    let help = printed_by(&["--help"]);
    let table = help.split_once("Exit status:\n").unwrap().1;
    assert_eq!(codes(table), [0, 1, 2, 3, 4, 5, 6, 7, 8, 130]);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let manual = std::fs::read_to_string(root.join("docs/device.md")).unwrap();
    let section = manual.split_once("### Exit status\n").unwrap().1.split_once("\n#").unwrap().0;
    assert_eq!(codes(section), codes(table), "docs/device.md");
    let page = std::fs::read_to_string(root.join("device/data/man/fedecks.1")).unwrap();
    let section = page.split_once("EXIT STATUS").unwrap().1.split_once(".SH").unwrap().0;
    assert_eq!(codes(section), codes(table), "fedecks(1)");
}

#[test]
fn wrong_usage_of_every_command_has_status_2() {
    for subcommand in SUBCOMMANDS {
        let (code, stdout, stderr) = fedecks(&[subcommand, "--nonsense"]);
        assert!(code == Some(2) && stdout.is_empty(), "{subcommand}: {code:?}: {stderr}");
        assert!(stderr.contains("--nonsense"), "{subcommand}: {stderr}");
    }
}

#[test]
fn a_claim_is_not_taken_from_the_arguments() {
    let (code, stdout, stderr) = fedecks(&["login", "--claim", "fdc_secret"]);
    assert!(code == Some(2) && stdout.is_empty(), "{code:?}: {stderr}");
    assert!(stderr.contains("use a prompt, - or --claim-file"), "{stderr}");
    for other in ["--username=marvin", "--stdin", "--claim-file=claim"] {
        let (code, _, stderr) = fedecks(&["login", "--claim", "-", other]);
        assert!(code == Some(2) && stderr.contains("cannot be used with"), "{code:?}: {stderr}");
    }
}
