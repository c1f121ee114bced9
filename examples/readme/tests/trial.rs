//! The trial by hand of the README works as it is typed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.

use std::fmt::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use fedecks_testing::process_group::ProcessGroup;
use fedecks_testing::wait::{skip, within};
use tokio::process::Command;

const PROGRAMS: [&str; 3] = ["fedecks-cloud", "fedecksd", "fedecks"];

/// The commands of the section, without those that install the programs.
fn commands() -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let section = readme
        .split("### By hand\n")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let mut commands = Vec::new();
    for block in section.split("```console\n").skip(2) {
        for line in block.split("```").next().unwrap().lines() {
            match line.strip_prefix("$ ") {
                Some(command) => commands.push(command.to_owned()),
                // The previous line ends with a backslash.
                None => write!(commands.last_mut().unwrap(), "\n{line}").unwrap(),
            }
        }
    }
    commands
}

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
    let programs = Path::new(env!("CARGO_BIN_EXE_readme-cloud"))
        .parent()
        .unwrap();
    if let Some(missing) = PROGRAMS.iter().find(|name| !programs.join(name).exists()) {
        return skip(&format!("{missing} is not built"));
    }
    for tool in ["dbus-run-session", "curl"] {
        if !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|folder| folder.join(tool).exists())
        {
            return skip(&format!("{tool} is missing"));
        }
    }
    // Free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut script = String::new();
    for command in commands() {
        let starts = command.ends_with('&') || command.ends_with(" bash");
        let result = if starts { "" } else { " || echo FAILED" };
        writeln!(script, "{command}{result}").unwrap();
        if let Some(ready) = readiness(&command) {
            writeln!(script, "until {ready}; do sleep 0.05; done").unwrap();
        }
    }
    script.push_str("fedecks status\nkill $(jobs -p)\nexit\nkill $(jobs -p)\nwait\n");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("script"), script.replace("4433", &port.to_string())).unwrap();

    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    // All shells read from the same pipe, as from a keyboard: line by line.
    command
        .args(["-c", "cat script | bash > output 2> errors"])
        .current_dir(folder.path());
    command
        .env("PATH", path)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let shell = ProcessGroup::spawn(&mut command).unwrap();
    within(shell.ended()).await;
    let read = |name| std::fs::read_to_string(file(name)).unwrap();
    let (output, errors) = (read("output"), read("errors"));
    assert!(
        !output.contains("FAILED") && !errors.contains("command not found"),
        "{output}{errors}"
    );
    assert!(output.contains("logged in"), "{output}{errors}");
    assert!(output.contains(r#""id":"kitchen-1""#), "{output}{errors}");
    assert!(output.contains("received 1 message"), "{output}{errors}");
    assert!(file("device-data/token").exists());
}
