//! The trial by hand of the README works as it is typed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.
#![allow(dead_code, reason = "two tests share the support")]

mod support;

use std::fmt::Write;

use support::{Shell, blocks, commands, section};

/// What a person waits for before the next command.
fn readiness(command: &str) -> Option<&'static str> {
    if command.contains(" serve ") {
        Some("curl --silent --insecure --output out https://localhost:4433/healthz")
    } else if command.contains("fedecksd &") {
        Some("fedecks status > out 2>&1")
    } else if command.ends_with("> header") {
        Some(
            "curl --silent --cacert fedecks-data/self-signed/ca.pem \
              -H @header https://localhost:4433/api/v1/devices | grep --quiet kitchen-1",
        )
    } else if command.contains("/messages") {
        Some("fedecks status | grep --quiet 'received 1 message'")
    } else {
        None
    }
}

#[tokio::test]
async fn the_trial_by_hand_works_as_it_is_typed() {
    let Some(shell) = Shell::new(&["dbus-run-session", "curl"]) else {
        return;
    };
    let mut script = String::new();
    // The first block installs the programs.
    let blocks = blocks(section("### By hand"), "console");
    for command in blocks.iter().skip(1).flat_map(|block| commands(block)) {
        let starts = command.ends_with('&') || command.ends_with(" bash");
        let result = if starts { "" } else { " || echo FAILED" };
        writeln!(script, "{command}{result}").unwrap();
        if let Some(ready) = readiness(&command) {
            writeln!(script, "until {ready}; do sleep 0.05; done").unwrap();
        }
    }
    script.push_str("fedecks status\nkill $(jobs -p)\nexit\nkill $(jobs -p)\nwait\n");

    let output = shell
        .types(&script.replace("4433", &shell.port.to_string()))
        .await;
    assert!(
        !output.contains("FAILED") && !output.contains("command not found"),
        "{output}"
    );
    assert!(output.contains("logged in"), "{output}");
    assert!(output.contains(r#""id":"kitchen-1""#), "{output}");
    assert!(output.contains("received 1 message"), "{output}");
    assert!(shell.path().join("device-data/token").exists());
}
