//! The commands of docs/factory.md and the station of the production line work as they are written there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.
#![allow(dead_code, reason = "the tests share the support")]

mod support;

use support::{Shell, blocks, commands};

const MANUAL: &str = include_str!("../../../docs/factory.md");

const STATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../factory/station");

/// Starts the service of a board whose card is mounted.
fn board(id: &str) -> String {
    format!(
        "FEDECKS_DEVICE_ID={id} FEDECKS_URL=wss://localhost:4433 FEDECKS_CA_FILE=$PWD/fedecks-data/self-signed/ca.pem \
         FEDECKS_DATA_DIR=$PWD/mnt/{id} DBUS_SYSTEM_BUS_ADDRESS=unix:path=$PWD/no-bus fedecksd 2> {id}.log &\n"
    )
}

/// The commands of a block, each of which has to succeed.
fn typed(block: &str) -> String {
    let lines = commands(block).into_iter();
    lines
        .map(|command| format!("{command} || echo FAILED\n"))
        .collect()
}

#[tokio::test]
async fn boards_are_registered_as_the_manual_says() {
    let Some(shell) = Shell::new(&["curl", "python3"]) else {
        return;
    };
    let [each, station, rest, batch, leak] = blocks(MANUAL, "console")[..] else {
        panic!("the manual has other commands");
    };
    let passes = typed(station).replace("/mnt/data/fedecks", "mnt/board-0001");
    let [add_token, station] = passes.split_inclusive("FAILED\n").collect::<Vec<_>>()[..] else {
        panic!("the station's block has other commands");
    };
    let station = station.trim_end();
    let again = station.replace(" || echo FAILED", " || echo again $?");
    let unknown = again.replace("board-0001 mnt", "board-9999 mnt");
    let [add_batch, list, approve]: [String; 3] = commands(batch).try_into().unwrap();

    let script = [
        "mkdir -p mnt/board-0001 mnt/board-0104\n",
        &typed(each),
        "fedecks-cloud serve --self-signed --listen 127.0.0.1:4433 2> cloud.log &\n",
        "until curl --silent --insecure --output out https://localhost:4433/healthz; do sleep 0.05; done\n",
        add_token,
        // The running server knows it within a second.
        "until curl --silent --fail --output out --cacert fedecks-data/self-signed/ca.pem \
         -H \"Authorization: Bearer $(cat station.token)\" https://localhost:4433/api/v1/devices; do sleep 0.05; done\n",
        // A person would start the board once the station says so.
        &format!("{{ {station}; }} > passed 2>&1 &\n"),
        "until grep -q 'start the board' passed; do sleep 0.05; done\n",
        &board("board-0001"),
        "until grep -q ': passed' passed; do sleep 0.05; done\n",
        "until [ ! -e mnt/board-0001/provision.toml ]; do sleep 0.05; done\n",
        &format!("{again}\n{unknown}\n"),
        &typed(rest),
        &format!("{add_batch} || echo FAILED\n"),
        "secret=$(tail -n 1 batch-8.csv | cut -d, -f2); printf 'claim = \"%s\"\\n' $secret > mnt/board-0104/provision.toml\n",
        &board("board-0104"),
        &format!("until {list} | grep -q board-0104; do sleep 0.05; done\n"),
        &format!("{approve} || echo FAILED\n"),
        // Instead of waiting for its next attempt.
        "kill $!; wait $!\n",
        &board("board-0104"),
        "until [ -s mnt/board-0104/token ]; do sleep 0.05; done\n",
        &typed(leak).replace("CLAIM", "$(tail -n 1 batch-8.csv | cut -d, -f1)"),
        "kill $(jobs -p)\nwait\n",
    ]
    .concat();
    let script = script
        .replace(
            "station --claims",
            &format!("{STATION} --ca-file fedecks-data/self-signed/ca.pem --claims"),
        )
        .replace("https://cloud.example.com", "https://localhost:4433")
        .replace("4433", &shell.port.to_string());

    let output = shell.types(&script).await;
    let logs =
        ["passed", "cloud.log", "board-0001.log", "board-0104.log"].map(|name| shell.reads(name));
    // The station says FAILED with a reason.
    let failed = output.lines().any(|line| line.starts_with("FAILED"));
    assert!(
        !failed && !output.contains("command not found"),
        "{output}\n{logs:#?}"
    );
    assert!(output.contains("board-0001 has passed before"), "{output}");
    assert!(output.contains("has no claim for board-9999"), "{output}");
    assert_eq!(output.matches("again 1").count(), 2, "{output}");
    assert!(
        shell
            .reads("batch-7.jsonl")
            .contains(r#"{"device": "board-0001", "claim": "#)
    );
    // The two boards that were not built, and the use of the one that was.
    assert!(
        output.contains("board-0002") && output.contains("board-0003"),
        "{output}"
    );
    assert!(output.contains(",board-0001,"), "{output}");
    assert!(output.contains("board-0104"), "{output}");
}
