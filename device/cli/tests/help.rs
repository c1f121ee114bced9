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

#[test]
fn every_subcommand_has_a_help_of_at_most_100_columns() {
    let main = printed_by(&["--help"]);
    assert!(main.contains("Exit status:\n  0    success"), "{main}");
    let subcommands =
        ["login", "logout", "send", "send-raw", "reconnect", "listen", "status", "events"];
    for subcommand in subcommands {
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
