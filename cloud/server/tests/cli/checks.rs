//! `check-config` against `serve`: what keeps the server from starting, what devices would refuse, and what is
//! dangerous. Both say the same.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Output;

use fedecks_testing::certificates::{Authority, Certificate};
use fedecks_testing::cloud_process::CloudProgram;
use fedecks_testing::wait::{is_root, within};
use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::PROGRAM;

const TLS: &str = "[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"";

/// The number of a user without a name.
const USER_ID: u32 = 4242;

/// A program with these lines in its configuration, which only its owner can read, and a store.
async fn configured(lines: &str) -> CloudProgram {
    let program = CloudProgram::configured(PROGRAM, lines);
    set_mode(&program.folder.path().join("cloud.toml"), 0o600);
    program.run(&["store", "init"], "").await;
    program
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// The exit code, and what is printed to standard error.
fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

async fn check(program: &CloudProgram, arguments: &[&str]) -> (Option<i32>, String) {
    told(&program.output(&[&["check-config"], arguments].concat(), "").await)
}

#[tokio::test]
async fn the_example_starts_only_with_a_secret_of_its_own() {
    let program = CloudProgram::new(PROGRAM).variable("FEDECKS_CONFIG", "cloud.toml");
    let file = program.folder.path().join("cloud.toml");
    let example = include_str!("../../../cloud.example.toml");
    fs::write(&file, example).unwrap();
    set_mode(&file, 0o600);
    for command in [["check-config"], ["serve"]] {
        let (code, said) = told(&program.output(&command, "").await);
        assert_eq!(code, Some(78), "{command:?}: {said}");
        assert!(
            said.contains("cloud.toml, line 10: secret: the secret has 0 characters"),
            "{said}"
        );
    }
    let lines = program.run(&["secret", "generate", "--toml"], "").await;
    fs::write(&file, example.replace("secret = \"\"\nsalt = \"\"\n", &lines)).unwrap();
    program.run(&["store", "init"], "").await;
    let (code, said) = check(&program, &[]).await;
    assert_eq!(code, Some(0), "{said}");
}

/// The program run by another user, as systemd does.
async fn as_user(program: &CloudProgram, arguments: &[&str]) -> (Option<i32>, String) {
    let run = program.command(arguments);
    let run = run.as_std();
    let user = USER_ID.to_string();
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
    command.arg(run.get_program()).args(run.get_args()).current_dir(program.folder.path());
    // Those of the tests would be the server's.
    command.env_clear().envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    told(&command.kill_on_drop(true).output().await.unwrap())
}

/// Gives the store to the user, as the server's.
fn give_store(program: &CloudProgram) {
    let data = program.folder.path().join("fedecks-data");
    for place in [data.clone(), data.join("fedecks.sqlite")] {
        chown(place, Some(USER_ID), Some(USER_ID)).unwrap();
    }
    set_mode(program.folder.path(), 0o755);
}

#[tokio::test]
async fn a_key_for_root_only_is_found_and_explained() {
    if !is_root() {
        return;
    }
    let program = configured(TLS).await;
    let [_, key] = Certificate::self_signed("localhost").write(program.folder.path());
    set_mode(&key, 0o600);
    // Nothing says who the server runs as.
    let (_, said) = check(&program, &[]).await;
    assert!(said.contains("only root can read k.pem"), "check-config is content: {said:?}");
    // The option does, or the owner of the store.
    let folder = program.folder.path().to_owned();
    set_mode(&folder, 0o755);
    set_mode(&folder.join("cloud.toml"), 0o644);
    let expected = "cannot read a PEM private key from k.pem: Permission denied (os error 13): user 4242 may not \
                    read it (owner root, group root, mode 0600)\n";
    let (code, said) = check(&program, &["--user", "4242"]).await;
    assert_eq!((code, said.contains(expected)), (Some(78), true), "{said}");
    give_store(&program);
    let (code, said) = check(&program, &[]).await;
    assert_eq!((code, said.contains(expected)), (Some(78), true), "{said}");
    let (code, said) = as_user(&program, &["serve"]).await;
    assert_eq!((code, said.contains(expected)), (Some(78), true), "serve: {said}");

    // A directory on the way to it.
    let private = folder.join("private");
    fs::create_dir(&private).unwrap();
    Certificate::self_signed("localhost").write(&private);
    set_mode(&private, 0o700);
    let lines = TLS.replace("\"k.pem", "\"private/k.pem");
    fs::write(folder.join("cloud.toml"), fedecks_testing::cloud_process::configuration(&lines))
        .unwrap();
    let (code, said) = check(&program, &[]).await;
    let expected = "user 4242 may not enter the directory";
    assert_eq!((code, said.contains(expected)), (Some(78), true), "{said}");
    assert!(said.contains("/private (owner root, group root, mode 0700)"), "{said}");
}

#[tokio::test]
async fn a_configuration_for_root_only_is_found() {
    if !is_root() {
        return;
    }
    let program = configured("").await;
    give_store(&program);
    let (code, said) = as_user(&program, &["serve"]).await;
    assert!(code == Some(78) && said.contains("cannot read the configuration"), "{said}");
    let (_, said) = check(&program, &[]).await;
    assert!(said.contains("cannot read the configuration cloud.toml"), "it is content: {said:?}");
    let (code, said) = check(&program, &["--user", "4242"]).await;
    assert!(code == Some(78) && said.contains("user 4242 may not read it"), "{code:?}: {said}");
}

#[tokio::test]
async fn a_store_that_the_user_cannot_write_is_found() {
    if !is_root() {
        return;
    }
    let program = configured("").await;
    give_store(&program);
    set_mode(&program.folder.path().join("cloud.toml"), 0o644);
    set_mode(&program.folder.path().join("fedecks-data"), 0o500);
    let (code, said) = check(&program, &[]).await;
    assert_eq!(code, Some(1), "check-config is content: {said:?}");
    assert!(said.contains("cannot write fedecks-data: Permission denied"), "{said}");
    assert!(said.contains("user 4242 may not write it (owner 4242"), "{said}");
}

#[tokio::test]
async fn a_write_ahead_log_of_another_user_is_found() {
    if !is_root() {
        return;
    }
    let program = configured("").await;
    give_store(&program);
    set_mode(&program.folder.path().join("cloud.toml"), 0o644);
    // Left by root, who has looked at the store with another program.
    let log = program.folder.path().join("fedecks-data/fedecks.sqlite-wal");
    fs::write(&log, "").unwrap();
    set_mode(&log, 0o600);
    let (code, said) = within(as_user(&program, &["serve"])).await;
    assert!(code == Some(1) && said.contains("fedecks.sqlite"), "serve: {code:?}: {said}");
    let (code, said) = check(&program, &[]).await;
    assert_eq!(code, Some(1), "check-config is content: {said:?}");
    let expected = "cannot write fedecks-data/fedecks.sqlite-wal: ";
    assert!(said.contains(expected) && said.contains("user 4242 may not write it"), "{said}");
}

#[tokio::test]
async fn a_check_as_another_user_is_refused_unless_root_runs_it() {
    if !is_root() {
        return;
    }
    let program = configured("").await;
    give_store(&program);
    set_mode(&program.folder.path().join("cloud.toml"), 0o644);
    for (user, code) in [("4242", Some(0)), ("root", Some(1))] {
        let (ended, said) = as_user(&program, &["check-config", "--user", user]).await;
        assert_eq!(ended, code, "{user}: {said}");
        assert_eq!(said.contains("only root can act as another user"), user == "root", "{said}");
    }
}

#[tokio::test]
async fn addresses_that_exclude_one_another_are_refused() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (one, other, problem) in [
        (
            "0.0.0.0",
            "[::]",
            "takes every address of that port, IPv4 as well: remove the listener 0.0.0.0",
        ),
        ("[::]", "127.0.0.1", "takes every address of that port, IPv4 as well"),
        ("0.0.0.0", "127.0.0.1", "takes every address of that port: remove the listener 127.0.0.1"),
        ("[::]", "[::1]", "takes every address of that port: remove"),
        ("127.0.0.1", "127.0.0.1", "is configured twice"),
        ("127.0.0.1", "[::ffff:127.0.0.1]", "is configured twice"),
    ] {
        let program = configured("").await;
        let file = program.folder.path().join("cloud.toml");
        let text = fs::read_to_string(&file).unwrap();
        let listen = format!("[\"{one}:{port}\", \"{other}:{port}\"]");
        fs::write(&file, text.replace("\"127.0.0.1:0\"", &listen)).unwrap();
        let (code, said) = check(&program, &[]).await;
        assert_eq!(code, Some(78), "check-config is content with {listen}: {said:?}");
        assert!(said.contains("cloud.toml, line 1: ") && said.contains(problem), "{said}");
        let served = told(&program.output(&["serve"], "").await);
        assert_eq!(served, (code, said), "serve says something else");
    }
}

#[tokio::test]
async fn addresses_are_listened_on_for_a_moment() {
    // Reserved for documentation (RFC 5737).
    let program = configured("[[listener]]\naddress = \"192.0.2.1:9\"").await;
    let (code, said) = check(&program, &[]).await;
    assert_eq!(code, Some(1), "check-config is content: {said:?}");
    assert!(said.contains("no interface of this machine has the address"), "{said}");

    // A port that the running server has.
    let program = configured("").await;
    let server = program.serve(&["--listen", "127.0.0.1:0"]).await;
    let address = server.address.to_string();
    let program = server.program.folder.path().join("cloud.toml");
    let text = fs::read_to_string(&program).unwrap().replace("127.0.0.1:0", &address);
    fs::write(&program, text).unwrap();
    let (code, said) = check(&server.program, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("note: cannot listen on {address}: ")), "{said:?}");
}

#[tokio::test]
async fn a_chain_is_followed_to_its_root() {
    let root = Authority::new("root");
    let intermediate = root.intermediate("intermediate");
    let certificate = intermediate.issue("localhost");
    let public = intermediate.issue_public("localhost");
    let program = configured(TLS).await;
    let folder = program.folder.path();
    let ca_file = root.write(folder);
    let ca_file = ["--ca-file", ca_file.to_str().unwrap()];
    let with = |certificate: &Certificate, more: &[&Authority]| {
        certificate.write(folder);
        let more: String = more.iter().map(|authority| authority.pem()).collect();
        fs::write(folder.join("c.pem"), format!("{}{more}", certificate.pem)).unwrap();
        set_mode(&folder.join("k.pem"), 0o600);
    };
    // Without the intermediate.
    with(&certificate, &[]);
    let (code, said) = check(&program, &[]).await;
    assert!(
        said.contains(
            "warning: c.pem: the chain may be incomplete: the certificate was issued by "
        ),
        "check-config is content: {said:?}"
    );
    assert_eq!(code, Some(0), "it may be complete for devices that trust the intermediate");
    let (code, said) = check(&program, &ca_file).await;
    assert!(said.contains("error: c.pem: the chain is incomplete: "), "{said}");
    assert_eq!(code, Some(1), "{said}");
    with(&public, &[]);
    let (code, said) = check(&program, &[]).await;
    assert!(said.contains("error: c.pem: the chain is incomplete: "), "{said}");
    assert_eq!(code, Some(1), "{said}");

    // With it.
    with(&certificate, &[&intermediate]);
    let complete = check(&program, &ca_file).await;
    assert!(complete.0 == Some(0) && !complete.1.contains("c.pem"), "{complete:?}");
    with(&certificate, &[&intermediate, &root]);
    let (code, said) = check(&program, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("note: c.pem: devices accept it only with the private authority CN=root"),
        "{said}"
    );
    // With another one of the same name.
    with(&certificate, &[&Authority::new("other"), &root.intermediate("intermediate"), &root]);
    let (code, said) = check(&program, &[]).await;
    assert!(code == Some(1) && said.contains("error: c.pem: "), "{code:?}: {said}");

    // A running server says the same, at its start and after a reload.
    with(&public, &[]);
    let mut server = program.serve(&[]).await;
    let line = server.logs("devices refuse the certificate").await;
    assert!(line.contains("ERROR") && line.contains("the chain is incomplete"), "{line}");
    let folder = server.program.folder.path().to_owned();
    certificate.write(&folder);
    server.signal(Signal::SIGHUP);
    let line = server.logs("devices may refuse the certificate").await;
    assert!(line.contains("the chain may be incomplete"), "{line}");
    Certificate::self_signed("localhost").write(&folder);
    fs::write(folder.join("k.pem"), &certificate.key_pem).unwrap();
    server.signal(Signal::SIGHUP);
    let line = server.logs("cannot reload the certificate, keeping the previous one").await;
    assert!(line.contains("the key belongs to another certificate"), "{line}");
}

#[tokio::test]
async fn a_webhooks_url_is_shown_without_its_path() {
    let program = configured(
        "[[webhook]]\nname = \"crm\"\nurl = \"https://crm.example.com/hook/topsecret?token=hunter2\"\n\
         secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"",
    )
    .await;
    let shown = program.run(&["check-config"], "").await;
    assert!(!shown.contains("topsecret") && !shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("webhook: crm to https://crm.example.com/…\n"), "{shown}");
}

#[tokio::test]
async fn secrets_that_everyone_can_read_are_warned_of() {
    let webhook =
        "[[webhook]]\nname = \"crm\"\nurl = \"https://crm.example.com\"\nsecret_file = \"crm\"";
    let program = configured(webhook).await;
    let folder = program.folder.path().to_owned();
    let expected = [
        "cloud.toml can be read by every user of this machine (mode 0644), and it contains secret, salt",
        "crm can be read by every user of this machine (mode 0604), and it contains a secret",
    ];
    fs::write(folder.join("crm"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    set_mode(&folder, 0o755);
    set_mode(&folder.join("crm"), 0o600);
    let (code, said) = check(&program, &[]).await;
    assert!(code == Some(0) && !said.contains("can be read"), "{code:?}: {said}");

    set_mode(&folder.join("cloud.toml"), 0o644);
    set_mode(&folder.join("crm"), 0o604);
    let (code, said) = check(&program, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    for warning in expected {
        assert!(said.contains(&format!("warning: {warning}")), "taken without a word: {said:?}");
    }
    let mut server = program.serve(&[]).await;
    for warning in expected {
        let line = server.logs("the configuration is not safe").await;
        assert!(line.contains("WARN") && line.contains(warning), "{line}");
    }
    // A directory that no one else can enter protects them.
    set_mode(&folder, 0o700);
    let (code, said) = check(&server.program, &[]).await;
    assert!(code == Some(0) && !said.contains("can be read"), "{said}");
}

#[tokio::test]
async fn plaintext_for_the_network_is_warned_of() {
    let lines = "[[listener]]\naddress = \"0.0.0.0:0\"\n[[listener]]\naddress = \"0.0.0.0:0\"\n\
                 serves = [\"metrics\"]\n[[webhook]]\nname = \"crm\"\nurl = \"http://crm.example.com\"\n\
                 secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"";
    let program = configured(lines).await;
    let (code, said) = check(&program, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    let expected =
        "listener 0.0.0.0:0 has no TLS, and no proxy of the network is trusted: passwords";
    assert_eq!(said.matches(expected).count(), 1, "taken without a word: {said:?}");
    assert!(
        said.contains("webhook crm: http:// sends events over the network in plaintext"),
        "{said}"
    );
    let mut server = program.serve(&[]).await;
    let line = server.logs("the configuration is not safe").await;
    assert!(line.contains("WARN") && line.contains(expected), "{line}");

    let mut program = server.program;
    for (proxies, warned) in [("127.0.0.1,::1", true), ("127.0.0.1,10.0.0.1", false)] {
        program = program.variable("FEDECKS_TRUSTED_PROXIES", proxies);
        let (_, said) = check(&program, &[]).await;
        assert_eq!(said.contains("has no TLS"), warned, "{proxies}: {said}");
    }
}

#[tokio::test]
async fn settings_without_effect_are_warned_of() {
    let program = configured("trusted_proxies = [\"0.0.0.0/0\"]").await;
    let program = program.variable("FEDECKS_LIMIT_CONNECTIONS", "10");
    let (code, said) = check(&program, &[]).await;
    let expected = [
        "trusted_proxies contains 0.0.0.0/0: every client can claim",
        "unknown environment variable FEDECKS_LIMIT_CONNECTIONS (similar: FEDECKS_LIMITS_CONNECTIONS): check the spelling",
    ];
    assert_eq!(code, Some(0), "{said}");
    for warning in expected {
        assert!(said.contains(warning), "taken without a word: {said:?}");
    }
    let mut server = program.serve(&[]).await;
    let line = server.logs("the configuration is not complete").await;
    assert!(line.contains(expected[1]), "{line}");
    let line = server.logs("the configuration is not safe").await;
    assert!(line.contains(expected[0]), "{line}");
}

#[tokio::test]
async fn a_path_of_the_server_is_refused_for_devices() {
    for path in ["/healthz", "/api/v1/devices"] {
        let program = configured("").await.variable("FEDECKS_PATH", path);
        let (code, said) = check(&program, &[]).await;
        assert_eq!(code, Some(78), "check-config is content with {path}: {said:?}");
        assert!(said.contains("FEDECKS_PATH") && said.contains("other paths"), "{said}");
    }
}

#[tokio::test]
async fn a_webhooks_secret_for_root_only_is_found() {
    if !is_root() {
        return;
    }
    let lines =
        "[[webhook]]\nname = \"crm\"\nurl = \"https://crm.example.com\"\nsecret_file = \"crm\"";
    let program = configured(lines).await;
    give_store(&program);
    let folder = program.folder.path();
    set_mode(&folder.join("cloud.toml"), 0o644);
    fs::write(folder.join("crm"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    set_mode(&folder.join("crm"), 0o600);
    let (code, said) = check(&program, &[]).await;
    let expected = "webhook.secret_file: cannot read crm: Permission denied (os error 13): user 4242 may not read";
    assert_eq!((code, said.contains(expected)), (Some(78), true), "{said}");
    assert_eq!(
        as_user(&program, &["serve"]).await,
        (code, said.clone()),
        "serve says something else"
    );
}
