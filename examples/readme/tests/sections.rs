//! The commands and files of the README's sections on the device and the cloud work together, and no command of
//! the README goes without a test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.
#![allow(dead_code, reason = "two tests share the support")]

mod support;

use std::fmt::Write;

use support::{README, Shell, blocks, commands, section};

/// Whether the test below types the command: with the trial's address, and with what a person would type on.
fn typed(command: &str) -> Option<String> {
    let typed = match command {
        "fedecks-cloud claim add --devices kitchen-1" => format!("{command} > claim"),
        "fedecks login --claim" => {
            "(until grep -q claim: typed; do sleep 0.05; done; cat claim
              until grep -q 'logged in' typed; do sleep 0.05; done) | script -qefc 'fedecks login --claim' typed"
                .to_owned()
        }
        command if command.contains(" serve ") => format!("{command} &"),
        command if command.contains("token add") => {
            format!("{command} > token && sed 's/^/Authorization: Bearer /' token > header")
        }
        command if command.ends_with("/events") => format!("{command} --silent --dump-header head > events &"),
        command if command.starts_with("fedecks listen") => {
            command.replace("/usr/bin/my-handler", "./my-handler") + " &"
        }
        command
            if ["fedecks send", "fedecks status", "busctl", "curl"]
                .iter()
                .any(|start| command.starts_with(start)) =>
        {
            command.to_owned()
        }
        _ => return None,
    };
    Some(typed)
}

/// What has to be true before the next command.
fn readiness(command: &str) -> Option<&'static str> {
    if command.contains(" serve ") {
        Some("curl --silent --output out https://cloud.example.com/healthz")
    } else if command.contains("token add") {
        Some(
            "curl --silent --fail --output out -H @header https://cloud.example.com/api/v1/devices",
        )
    } else if command.ends_with("/events") {
        Some("grep --quiet 'HTTP/1.1 200' head")
    } else if command.contains("/messages") {
        Some("grep --quiet fan handled")
    } else {
        None
    }
}

fn types(script: &mut String, block: &str) {
    for command in commands(block) {
        let line = typed(&command).unwrap_or_else(|| panic!("the test does not type {command}"));
        let result = if line.ends_with('&') {
            ""
        } else {
            " || echo FAILED"
        };
        writeln!(script, "{line}{result}").unwrap();
        if let Some(ready) = readiness(&command) {
            writeln!(script, "until {ready}; do sleep 0.05; done").unwrap();
        }
    }
}

#[tokio::test]
async fn device_and_cloud_work_as_their_sections_say() {
    let tools = ["dbus-run-session", "curl", "script", "busctl"];
    let Some(shell) = Shell::new(&tools) else {
        return;
    };
    let (device, cloud) = (section("## Device"), section("## Cloud"));
    let (in_cloud, on_device) = (blocks(cloud, "console"), blocks(device, "console"));
    let [configuration, provisioning] = blocks(device, "toml")[..] else {
        panic!("the device's section has other files");
    };

    let mut script =
        "exec dbus-run-session bash\nexport DBUS_SYSTEM_BUS_ADDRESS=$DBUS_SESSION_BUS_ADDRESS\n\
        export CURL_CA_BUNDLE=$PWD/fedecks-data/self-signed/ca.pem\n"
            .to_owned();
    types(&mut script, in_cloud[0]);
    // The section's file, and what this machine needs in addition.
    write!(
        script,
        "cat > fedecks.toml << END\n{configuration}\ndevice_id = \"kitchen-1\"\nca_file = \"$CURL_CA_BUNDLE\"\nEND\n\
         printf '#!/bin/sh\\ncat >> handled\\n' > my-handler\nchmod +x my-handler\nmkdir data\n\
         fedecksd --config $PWD/fedecks.toml & service=$!\nuntil fedecks status > out 2>&1; do sleep 0.05; done\n"
    )
    .unwrap();
    types(&mut script, on_device[0]);
    types(&mut script, on_device[1]);
    types(&mut script, in_cloud[1]);
    // Unattended, on an empty data partition: the claim lets this device return.
    let provisioning = provisioning.replace("fdc_jbswy3dpeblw64tmmqqho33snq", "$(cat claim)");
    write!(
        script,
        "kill $service\nwait $service\nrm -r data\nmkdir -p data/fedecks\n\
         (umask 077; cat > data/fedecks/provision.toml << END\n{provisioning}\nEND\n)\n\
         fedecksd --config $PWD/fedecks.toml &\nfedecks status --wait connected --timeout 20s || echo FAILED\n\
         until [ ! -e data/fedecks/provision.toml ]; do sleep 0.05; done\nls data/fedecks\n"
    )
    .unwrap();
    script.push_str("kill $(jobs -p)\nwait\n");

    let script = script
        .replace("/data/fedecks\"", "$PWD/data/fedecks\"")
        .replace(
            "wss://cloud.example.com",
            &format!("wss://localhost:{}", shell.port),
        )
        .replace(
            "https://cloud.example.com",
            &format!("https://localhost:{}", shell.port),
        )
        .replace("4433", &shell.port.to_string());
    let output = shell.types(&script).await;
    assert!(
        !output.contains("FAILED") && !output.contains("command not found"),
        "{output}"
    );
    assert!(output.contains("logged in"), "{output}");
    assert!(output.contains("\ntoken\n"), "{output}");
    assert!(
        shell.reads("handled").contains("{\"fan\":\"on\"}"),
        "{output}"
    );
    assert!(shell.reads("events").contains("sent"), "{output}");
}

#[test]
fn no_command_of_the_readme_goes_without_a_test() {
    let run = include_str!("../../../.ci/run");
    let trial = blocks(section("### By hand"), "console");
    for command in blocks(README, "console").into_iter().flat_map(commands) {
        let script = command.split_whitespace().next().unwrap();
        let steps = run.lines().filter(|line| !line.starts_with('#'));
        let in_ci = script.starts_with("ci/")
            && steps
                .flat_map(str::split_whitespace)
                .any(|word| word == script);
        let in_trial = trial.iter().any(|block| commands(block).contains(&command));
        // `readme.rs` runs the library's two programs, whose names these are.
        let in_library = command.contains("--bin readme-");
        assert!(
            in_ci || in_trial || in_library || typed(&command).is_some(),
            "{command}"
        );
    }
}
