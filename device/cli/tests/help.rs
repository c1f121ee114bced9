//! What the command `fedecks` says of itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.

use std::process::Command;

/// Its exit status and what it printed, to standard output or, where that is nothing, to standard error.
fn fedecks(arguments: &[&str]) -> (Option<i32>, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_fedecks")).args(arguments).env_clear().output().unwrap();
    assert!(output.stdout.is_empty() || output.stderr.is_empty(), "{output:?}");
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

#[test]
fn every_help_reads_well() {
    let (code, main) = fedecks(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(main.contains("Exit status:\n  0    done"), "{main}");
    let subcommands =
        ["login", "logout", "send", "send-raw", "reconnect", "listen", "status", "events"];
    for subcommand in subcommands {
        assert!(main.contains(&format!("  {subcommand}  ")), "{main}");
        let (code, help) = fedecks(&[subcommand, "--help"]);
        assert_eq!(code, Some(0));
        assert!(help.contains(&format!("Usage: fedecks {subcommand}")), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
    let version = fedecks(&["--version"]);
    assert_eq!(version, (Some(0), format!("fedecks {}\n", env!("CARGO_PKG_VERSION"))));
    let (code, usage) = fedecks(&[]);
    assert_eq!(code, Some(2));
    assert!(usage.contains("Usage: fedecks"), "{usage}");
}
