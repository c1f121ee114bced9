//! Tests of the errors: each names the place, the key and what is expected.

use super::*;

/// Files, without the first two lines and with `;` for each line end, and below each its error.
const INVALID: &str = r#"
[limits]; connections = "many"
, line 4: limits.connections: must be a whole number from 1 to 4294967295

[limits]; connections = 0
, line 4: limits.connections: must be a whole number from 1 to 4294967295

[limits]; accepts_per_second = 0
, line 4: limits.accepts_per_second: must be a whole number from 1 to 4294967295

[limits]; accept_burst = 0
, line 4: limits.accept_burst: must be a whole number from 1 to 4294967295

[limits]; accept_burst = -1
, line 4: limits.accept_burst: must be a whole number from 1 to 4294967295

[limits]; request_head = 8191
, line 4: limits.request_head: must be a whole number from 8192 to 1048576

[limits]; handshake = "0s"
, line 4: limits.handshake: must be longer than 0s

[sessions]; heartbeat = "1s"; max_frame = 1000
, line 5: sessions.max_frame: must be a whole number from 1024 to 67108864

[cluster]; nats = "nats://192.0.2.1"
, line 4: cluster needs the store in a PostgreSQL database, which all servers share: set store to its URL, which begins with postgres://

[cluster]; prefix = "fedecks"
, line 4: cluster has no nats, such as "nats://192.0.2.20:4222"

[cluster]; nats = "nats://a:b@192.0.2.1"
, line 4: cluster.nats: must be nats://HOST:PORT or tls://HOST:PORT, or a list of them, without a user name

[cluster]; nats = ["https://192.0.2.1"]
, line 4: cluster.nats: must be nats://HOST:PORT or tls://HOST:PORT, or a list of them, without a user name

[cluster]; prefix = "a.b"
, line 4: cluster.prefix: "a.b" must be 1 to 64 letters, digits, '-' and '_'

[cluster]; name = ""
, line 4: cluster.name: "" must be 1 to 64 characters

store = "postgres://192.0.2.2/fedecks"; [cluster]; nats = "tls://192.0.2.1:4222"; nats_user = "fedecks"
, line 6: cluster.nats_user is set but cluster.nats_password_file is not; set both

store = "postgres://192.0.2.2/fedecks"; [cluster]; nats = "tls://192.0.2.1:4222"; nats_user = "fedecks"; nats_password_file = "/a"; nats_credentials_file = "/b"
, line 8: cluster.nats_credentials_file and cluster.nats_user are both set; set only one of them

[events]; keep = 0
, line 4: events.keep: must be a whole number, at least 1

listen = "localhost"
, line 3: listen: "localhost" must be IP:PORT, such as "127.0.0.1:8080" or "[::]:8443"

listen = ["127.0.0.1:1", "x"]
, line 3: listen: "x" must be IP:PORT, such as "127.0.0.1:8080" or "[::]:8443"

listen = 8080
, line 3: listen: must be IP:PORT, such as "127.0.0.1:8080" or "[::]:8443"

listen = []
, line 3: listen is empty; list at least one address

[[listener]]; address = "localhost"
, line 4: listener.address: "localhost" must be IP:PORT, such as "127.0.0.1:8080" or "[::]:8443"

[[listener]]; address = "127.0.0.1:1"; serves = ["everything"]
, line 5: listener.serves: "everything" must be one of devices, api, metrics

trusted_proxies = ["10.0.0.1", "balancer"]
, line 3: trusted_proxies: "balancer" must be an IP address or a network, such as "10.0.0.1" or "10.0.0.0/8"

[tokens]; lifetime = 5
, line 4: tokens.lifetime: must be a duration in quotes, such as "90s", not 5

data_dir = 7
, line 3: data_dir: must be a string in quotes, not 7

trusted_proxies = "10.0.0.1"
, line 3: trusted_proxies: must be a list, not a string in quotes

tls = 7
, line 3: tls: must be a section, not 7

[tls]; self_signed = "yes"
, line 4: tls.self_signed: must be true or false, not a string in quotes

[[listener]]; serves = ["api"]
, line 3: address is missing

[listener]; address = "127.0.0.1:1"
, line 3: must be in double brackets, such as [[listener]], as it can be repeated

listen =
, line 3: invalid TOML: string values must be quoted, expected literal string

listen = 127.0.0.1:4437
, line 3: invalid TOML: invalid float; text must be in quotes

[tokens]; lifetime = "1500ms"; refresh = "1s"
, line 4: tokens.lifetime: must be in whole seconds, at least 1s

[tokens]; refresh = "0s"
, line 4: tokens.refresh: must be longer than 0s

[drain]; deadline = "61m"
, line 4: drain.deadline: must be at most 1h

[log]; level = "loud"
, line 4: log.level: "loud" must be off, error, warn, info, debug or trace

[sessions]; heartbeat = "90s"
, line 4: sessions.idle_timeout (60 s, the default) must be longer than sessions.heartbeat (90 s)

[sessions]; heartbeat = "60s"; idle_timeout = "60s"
, line 5: sessions.idle_timeout (60 s) must be longer than sessions.heartbeat (60 s)

[sessions]; max_frame = 20000000
, line 4: sessions.received_bytes (67108864, the default) must be at least four times sessions.max_frame (20000000)

[sessions]; queued_bytes = 100
, line 4: sessions.queued_bytes (100) must be at least four times sessions.max_frame (1048576, the default)

[tokens]; lifetime = "1h"
, line 4: tokens.lifetime (3600 s) must be longer than tokens.refresh (10800 s, the default)

[sessions]; max_header = 16384
, line 4: limits.request_head (16384, the default) must be at least 1024 more than sessions.max_header (16384)

[tls]; key = "k"
, line 4: tls.key is set but tls.certificate is not

[tls]; certificate = "c"
, line 4: tls.certificate is set but tls.key is not

[tls]; key = "k"; self_signed = true
, line 5: tls.self_signed and certificate files are both set; set only one of them

[[listener]]; address = "127.0.0.1:1"; certificate = "/c.pem"
, line 4: listener 127.0.0.1:1: certificate is set but key is not

[[listener]]; address = "127.0.0.1:1"; key = "/k.pem"
, line 4: listener 127.0.0.1:1: key is set but certificate is not

[[listener]]; address = "127.0.0.1:1"; certificate = "/c.pem"; key = "/k.pem"; client_cert = "required"
, line 4: listener 127.0.0.1:1: client_cert is set but client_ca is not; name the PEM file of the authority of your devices' certificates

[[listener]]; address = "127.0.0.1:1"; client_ca = "/ca.pem"
, line 4: listener 127.0.0.1:1: client_ca is set, but the listener has no TLS; set certificate and key

[[listener]]; address = "127.0.0.1:1"; certificate = "/c.pem"; key = "/k.pem"; client_ca = "/ca.pem"; serves = ["api"]; client_register = true
, line 4: listener 127.0.0.1:1: client_register is true, but serves does not contain "devices"

[[listener]]; address = "127.0.0.1:1"; certificate = "/c.pem"; key = "/k.pem"; client_ca = "/ca.pem"; client_crl_expired = "accept"
, line 4: listener 127.0.0.1:1: client_crl_expired is set but client_crl is not

[[listener]]; address = "127.0.0.1:1"; client_id = "serial"
, line 5: listener.client_id: "serial" must be one of cn, dns, uri

[[listener]]; address = "127.0.0.1:1"; serves = []
, line 4: listener 127.0.0.1:1: serves is empty; list some of "devices", "api" and "metrics"

[[listener]]; address = "127.0.0.1:1"; proxy_protocol = true
: trusted_proxies is empty; list the load balancers of the listener with proxy_protocol

[[listener]]; address = "127.0.0.1:1"; [tls]; self_signed = true
, line 6: [tls] is set, but listen has no address that it could apply to

[[previous_key]]; secret = "y"
, line 4: a [[previous_key]] needs secret or secret_file, and salt or salt_file

[[previous_key]]; salt = "y"
, line 4: a [[previous_key]] needs secret or secret_file, and salt or salt_file

[[webhook]]; url = "https://x"; secret_file = "s"
, line 4: a [[webhook]] has no name

[[webhook]]; name = "a"; secret_file = "s"
, line 4: webhook "a" has no url

[[webhook]]; name = "a"; url = "https://x"
, line 4: webhook "a" has no secret or secret_file

[[webhook]]; name = "a b"; url = "https://x"; secret_file = "s"
, line 4: webhook.name: "a b" must be 1 to 64 letters, digits, '-', '.' and '_'

[[webhook]]; name = "a"; url = "https://hunter2@x"; secret_file = "s"
, line 5: webhook.url: must be https://HOST/PATH, or http:// for tests, without a user name

[[webhook]]; name = "a"; url = "https://x"; secret_file = "s"; secret = "x"
, line 7: webhook.secret and webhook.secret_file are both set; set only one of them

[[webhook]]; name = "a"; url = "https://x"; secret_file = "s"; [[webhook]]; name = "a"
, line 8: two [[webhook]] sections are named "a"
"#;

/// The error for a file with these lines, without the name of the file.
pub(super) fn error(lines: &str) -> String {
    let (_folder, path) = file(lines);
    let error = load(Some(&path), &[]).unwrap_err().to_string();
    let rest = error.strip_prefix(&path.display().to_string());
    rest.unwrap_or_else(|| panic!("does not begin with the file: {error}")).to_owned()
}

#[test]
fn errors_name_the_line_the_key_and_the_expectation() {
    for case in INVALID.split("\n\n") {
        let (lines, expected) = case.trim().split_once('\n').unwrap();
        assert_eq!(error(&lines.replace("; ", "\n")), expected, "{lines}");
    }
    for path in
        ["devices", "/", "/a//b", "/a/", "/a b", "/a?b", "/é", "/healthz", "/api/v1/devices"]
    {
        let error = error(&format!("path = {path:?}"));
        let expected = format!(", line 3: path: {path:?} must be a path such as ");
        assert!(error.starts_with(&expected), "{path:?}: {error}");
    }
    let unknown = error("[limits]\nconections = 5");
    let expected = ", line 4: limits.conections: unknown key, expected one of connections, ";
    assert!(unknown.starts_with(expected), "{unknown}");
    let unknown = error("[nonsense]\nx = 5");
    let expected = ", line 3: nonsense: unknown key, expected one of listen, listener, ";
    assert!(unknown.starts_with(expected), "{unknown}");
}

#[test]
fn an_invalid_environment_variable_is_named() {
    for (name, value, expected) in [
        ("LIMITS_CONNECTIONS", "many", "must be a whole number"),
        ("LIMITS_CONNECTIONS", "0", "must be a whole number from 1 to 4294967295"),
        ("TLS_SELF_SIGNED", "yes", "must be true or false"),
        (
            "TOKENS_LIFETIME",
            "1h",
            "tokens.lifetime (3600 s) must be longer than tokens.refresh (10800 s, the default)",
        ),
        ("DRAIN_DEADLINE", "61m", "must be at most 1h"),
        ("LOG_FORMAT", "xml", "\"xml\" must be text or json"),
    ] {
        let name = format!("FEDECKS_{name}");
        let error = load(None, &[(&name, value)]).unwrap_err().to_string();
        assert_eq!(error, format!("environment variable {name}: {expected}"));
    }
}

#[test]
fn a_file_needs_a_secret_and_a_salt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cloud.toml");
    let data_dir = folder.path().display();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let here = std::env::current_dir().unwrap().join("fedecks-data");
    let generate = format!(
        "no secret configured; set secret and salt, such as `fedecks-cloud secret generate --toml` prints, or \
         secret_file and salt_file. Those of a server that has run without this file are in its data \
         directory, which is not {here:?}"
    );
    let existing = format!(
        "no secret configured; to keep the devices of this installation logged in, add the lines \
         `secret_file = \"{data_dir}/secret\"` and `salt_file = \"{data_dir}/salt\"`"
    );
    for (text, expected) in [
        ("", generate),
        (&format!("data_dir = \"{data_dir}\""), existing),
        ("secret = \"x\"", "secret is set but salt is not; set salt or salt_file".into()),
        ("salt = \"x\"", "salt is set but secret is not; set secret or secret_file".into()),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = load(Some(&path), &[]).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {expected}", path.display()), "{text}");
    }
}

#[test]
fn the_secret_of_a_trial_survives_what_the_error_says() {
    let folder = tempfile::tempdir().unwrap();
    let trial = Overrides { data_dir: Some(folder.path().into()), ..Overrides::default() };
    let trial = load_with(None, &[], trial).unwrap().secrets.keyring().unwrap();
    let token = trial.seal(&claims()).token;

    let path = folder.path().join("cloud.toml");
    let lines = format!("data_dir = {:?}\n", folder.path());
    std::fs::write(&path, &lines).unwrap();
    let error = load(Some(&path), &[]).unwrap_err().to_string();
    let added: Vec<&str> = error.split('`').skip(1).step_by(2).collect();
    std::fs::write(&path, format!("{lines}{}", added.join("\n"))).unwrap();
    let keyring = load(Some(&path), &[]).unwrap().secrets.keyring().unwrap();
    assert_eq!(keyring.open(&token), Ok(claims()));
}

#[test]
fn no_error_and_no_debug_output_shows_a_secret() {
    let hidden = "hunter2hunter2";
    for lines in [
        format!("[[previous_key]]\nsecret = \"{hidden}"),
        format!("[[previous_key]]\nsecret = {hidden}"),
        format!("[[previous_key]]\nsecret = \"{hidden}\""),
        format!("[[previous_key]]\nsecret = \"\"\"\n{hidden} = {hidden}\n"),
        "[[previous_key]]\nsecret = 7777777".to_owned(),
        "[[previous_key]]\nsecret = 7777777.5".to_owned(),
        "[[previous_key]]\nsecret = [7777777]".to_owned(),
        "[[previous_key]]\nsecret = { x = 7777777 }".to_owned(),
        format!("previous_key = \"{hidden}\""),
        format!("tls = \"{hidden}\""),
    ] {
        let error = error(&lines);
        assert!(!error.contains("hunter2") && !error.contains("7777777"), "{error}");
    }
    let (_folder, path) = file("");
    let config = load(Some(&path), &[]).unwrap();
    assert!(!format!("{config:?}").contains(SECRET));
    let config = load(None, &[("FEDECKS_SECRET", hidden), ("FEDECKS_SALT", "the salt")]).unwrap();
    let error = config.secrets.keyring().unwrap_err().to_string();
    assert!(
        error.starts_with("environment variable FEDECKS_SECRET: secret: the secret has 14"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
}
