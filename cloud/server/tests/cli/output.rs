//! What the commands print when they succeed: one line that says what was done, and lists for people or as JSON.

use fedecks_protocol::Proof;
use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::device::credentials;
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::until;
use fedecks_testing::{PASSWORD, USER};
use serde_json::{Value, json};

use crate::PROGRAM;

/// A server that knows the device `nerves-1`.
async fn with_device() -> CloudProcess {
    let server = CloudProcess::start(PROGRAM, "").await;
    let device = server.device("nerves-1").await;
    until(async || {
        let listed = server.program.run(&["device", "list"], "").await;
        (!listed.is_empty()).then_some(())
    })
    .await;
    drop(device);
    server
}

/// The objects that a command prints, one per line.
async fn objects(program: &CloudProgram, arguments: &[&str]) -> Vec<Value> {
    let printed = program.run(&[arguments, &["--json"][..]].concat(), "").await;
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn success_says_what_was_done() {
    let server = with_device().await;
    let program = &server.program;
    for (arguments, input, printed) in [
        (&["account", "add", "ford"][..], "long enough", "ford: account added\n"),
        (&["account", "passwd", "ford"], "even longer", "ford: password changed\n"),
        (
            &["account", "remove", "ford"],
            "",
            "ford: account removed; the tokens of its devices stay valid\n",
        ),
        (&["device", "label", "nerves-1", "Pump"], "", "nerves-1: labelled \"Pump\"\n"),
        (&["device", "label", "nerves-1"], "", "nerves-1: label removed\n"),
        (&["device", "revoke", "nerves-1"], "", "nerves-1: all tokens revoked\n"),
        (&["device", "block", "nerves-1"], "", "nerves-1: blocked\n"),
        (&["device", "block", "nerves-1"], "", "nerves-1: already blocked\n"),
        (&["device", "unblock", "nerves-1"], "", "nerves-1: unblocked\n"),
        (&["device", "unblock", "nerves-1"], "", "nerves-1: was not blocked\n"),
        (&["device", "forget", "nerves-1"], "", "nerves-1: forgotten\n"),
        (&["backup", "copy"], "", "copy: backup of fedecks-data/fedecks.sqlite created\n"),
        (
            &["restore", "copy"],
            "",
            "fedecks-data/fedecks.sqlite: restored from copy; the replaced store is \
             fedecks-data/fedecks.sqlite.replaced\n",
        ),
    ] {
        assert_eq!(program.run(arguments, input).await, printed, "{arguments:?}");
    }
    let added = program.output(&["token", "add", "ci", "--role", "read"], "").await;
    let [token, note] = [added.stdout, added.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(token.starts_with("fdk_") && token.lines().count() == 1, "for scripts: {token}");
    assert_eq!(note, "fedecks-cloud: ci: API token added; it cannot be shown again\n");
    let revoked = program.run(&["token", "revoke", "ci"], "").await;
    assert_eq!(revoked, "ci: API token revoked\n");
}

#[tokio::test]
async fn every_list_and_status_is_printed_as_json() {
    let server = with_device().await;
    let program = &server.program;
    program.run(&["device", "block", "nerves-1"], "").await;
    program.run(&["token", "add", "ci", "--role", "read", "--devices", "site-*"], "").await;

    let accounts = objects(program, &["account", "list"]).await;
    assert_eq!((keys(&accounts[0]), &accounts[0]["name"]), (vec!["created", "name"], &json!(USER)));
    let devices = objects(program, &["device", "list"]).await;
    let [device] = &devices[..] else { panic!("{devices:?}") };
    let expected = [
        "blocked",
        "blocked_since",
        "first_seen",
        "id",
        "label",
        "last_revoked",
        "last_seen",
        "registration",
        "reregistration_allowed_until",
    ];
    assert_eq!(keys(device), expected);
    assert_eq!((&device["id"], &device["blocked"]), (&json!("nerves-1"), &json!(true)));
    assert_eq!((&device["label"], &device["last_revoked"]), (&Value::Null, &Value::Null));
    assert!(device["blocked_since"].as_str().unwrap().ends_with('Z'), "{device}");
    let tokens = objects(program, &["token", "list"]).await;
    let expected = ["created", "devices", "expires", "last_used", "name", "roles"];
    assert_eq!(keys(&tokens[0]), expected);
    assert_eq!(tokens[0]["roles"], json!(["read"]));
    assert_eq!((&tokens[0]["devices"], &tokens[0]["expires"]), (&json!("site-*"), &Value::Null));
    let audit = objects(program, &["audit", "list", "--class", "devices"]).await;
    let expected = ["action", "address", "by", "class", "detail", "device", "time"];
    assert_eq!(keys(&audit[0]), expected);
    assert_eq!((&audit[0]["action"], &audit[0]["by"]), (&json!("device-blocked"), &json!("cli")));

    let clock = objects(program, &["clock", "show"]).await;
    assert_eq!(keys(&clock[0]), ["behind_seconds", "clock", "floor", "floor_from", "synchronized"]);
    let checked = objects(program, &["check-config"]).await;
    let [config] = &checked[..] else { panic!("{checked:?}") };
    assert_eq!(config["listeners"][0]["serves"], json!(["devices", "api", "metrics"]));
    assert_eq!(config["secret"], json!("configured"));
    assert!(!config.to_string().contains(fedecks_testing::SECRET), "{config}");
}

#[tokio::test]
async fn a_list_without_entries_is_empty_as_json() {
    let program = CloudProgram::configured(PROGRAM, "");
    program.run(&["store", "init"], "").await;
    for list in ["account", "device", "claim", "token", "audit"] {
        assert_eq!(program.run(&[list, "list", "--json"], "").await, "", "{list}");
    }
}

#[tokio::test]
async fn a_changed_password_holds_at_once_and_tokens_stay() {
    let server = CloudProcess::start(PROGRAM, "").await;
    let login = async |password| {
        let proof = Proof::Credentials(credentials(USER, password));
        RawDevice::dial(server.address, "nerves-1", proof).await.map_err(|refused| refused.reason)
    };
    login(PASSWORD).await.unwrap();
    let changed = server.program.output(&["account", "passwd", USER], "another one").await;
    assert!(changed.status.success(), "{changed:?}");
    assert_eq!(login(PASSWORD).await.unwrap_err().as_deref(), Some("bad-credentials"));
    login("another one").await.unwrap();
    let audit = server.program.run(&["audit", "list", "--class", "access"], "").await;
    assert!(
        audit.lines().next().unwrap().contains(&format!("\taccount-password-changed\t-\t{USER}\t"))
    );
}

#[tokio::test]
async fn a_device_of_a_lost_store_can_be_shut_out() {
    // It has logged in after the backup that was restored.
    let program = CloudProgram::configured(PROGRAM, "");
    program.run(&["store", "init"], "").await;
    for command in ["revoke", "block"] {
        let said = program.fails(&["device", command, "lost-1"], 1).await;
        assert!(
            said.contains("no such device: lost-1; ") && said.contains("--allow-unknown"),
            "{said}"
        );
    }
    assert_eq!(program.run(&["device", "list"], "").await, "");
    let revoked = program.run(&["device", "revoke", "lost-1", "--allow-unknown"], "").await;
    assert_eq!(revoked, "lost-1: all tokens revoked\n");
    let blocked = program.run(&["device", "block", "lost-2", "--allow-unknown"], "").await;
    assert_eq!(blocked, "lost-2: blocked\n");
    assert_eq!(program.run(&["device", "list"], "").await.lines().count(), 2);
}
