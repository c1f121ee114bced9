//! Tests of the configuration that is read; what is rejected is tested in `errors`.

mod errors;

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fedecks_cloud::Keyring;
use fedecks_cloud::auth::Claims;
use fedecks_protocol::DeviceId;
use tempfile::TempDir;
use tracing::level_filters::LevelFilter;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A file with the two keys that every file needs, then `more` from line 3 on.
fn file(more: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cloud.toml");
    std::fs::write(&path, format!("secret = \"{SECRET}\"\nsalt = \"the salt\"\n{more}\n")).unwrap();
    (folder, path)
}

fn load(file: Option<&Path>, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    load_with(file, environment, Overrides::default())
}

fn load_with(
    file: Option<&Path>,
    environment: &[(&str, &str)],
    overrides: Overrides,
) -> Result<Config, ConfigError> {
    let environment: HashMap<_, _> = environment.iter().copied().collect();
    Config::load(file, |name| environment.get(name).map(OsString::from), overrides)
}

fn everything(address: &str, tls: TlsChoice) -> Listener {
    Listener::at(address.parse().unwrap(), tls)
}

fn claims() -> Claims {
    let device = DeviceId::new("a").unwrap();
    Claims { device, issued_at: 1, expires_at: 2, generation: 0 }
}

#[test]
fn defaults_apply_without_file_and_environment() {
    let config = load(None, &[]).unwrap();
    assert_eq!(config.listeners, [everything("127.0.0.1:8080", TlsChoice::Off)]);
    assert_eq!(config.trusted_proxies, []);
    assert_eq!(config.path, "/fedecks/websocket");
    assert_eq!(config.store.file(), Some(Path::new("fedecks-data/fedecks.sqlite")));
    assert_eq!(config.tokens.lifetime, Duration::from_secs(28 * 24 * 3600));
    assert_eq!(config.tokens.refresh, Duration::from_secs(3 * 3600));
    assert_eq!(config.sessions.heartbeat, Duration::from_secs(19));
    assert_eq!(config.sessions.idle_timeout, Duration::from_secs(60));
    assert_eq!(config.sessions.max_frame, 1024 * 1024);
    assert_eq!(config.sessions.max_header, 4096);
    assert_eq!(config.limits, ServeLimits::default());
    assert_eq!(config.failed_logins, FailedLoginLimits::default());
    assert_eq!(config.log, Log::default());
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let example = include_str!("../../../../cloud.example.toml");
    let shown: String = example
        .lines()
        // Keys without a default.
        .filter(|line| !line.contains("/etc/fedecks/") && !line.contains("previous_key"))
        .filter(|line| !line.contains("/run/secrets/"))
        .scan(false, |in_section, line| {
            let begins = ["#[[listener]]", "#[[webhook]]", "#[cluster]"].contains(&line);
            *in_section = begins || (*in_section && line.starts_with('#'));
            Some(if *in_section { "" } else { line })
        })
        .map(|line| {
            let uncommented = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
            format!("{}\n", uncommented.unwrap_or(line))
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cloud.toml");
    let load_text = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let mut config = load(Some(&path), &[]).unwrap();
        // They know the lines of the file, which differ.
        let without = load(None, &[]).unwrap();
        (config.secrets, config.sources) = (without.secrets, without.sources);
        format!("{config:?}")
    };
    assert_eq!(load_text(&shown), load_text(example));
    for (key, _) in keys::KEYS {
        let name = key.rsplit('.').next().unwrap();
        assert!(example.contains(&format!("{name} = ")), "{key} is not in the example");
    }
    for section in ["listener", "webhook"] {
        let error = errors::error(&format!("[[{section}]]\nnonsense = 1\n"));
        let (_, keys) = error.split_once("expected one of ").unwrap();
        let (_, shown) = example.split_once(&format!("#[[{section}]]\n")).unwrap();
        let (shown, _) = shown.split_once("\n\n").unwrap();
        for key in keys.split('`').skip(1).step_by(2) {
            let is_shown = shown.lines().any(|line| line.starts_with(&format!("#{key} = ")));
            // An example secret would be copied.
            assert!(is_shown || key == "secret", "{section}.{key} is not in the example");
        }
    }
}

#[test]
fn every_key_of_a_file_is_read() {
    let (_folder, path) = file(
        r#"
        listen = ["0.0.0.0:8443", "[::1]:8080"]
        trusted_proxies = ["10.0.0.0/8", "fd00::/8", "192.0.2.1"]
        path = "/devices/socket"
        data_dir = "/var/lib/fedecks"
        store = "/srv/store.sqlite"
        [[previous_key]]
        secret_file = "/run/secrets/previous"
        salt = "previous salt"
        [[listener]]
        address = "0.0.0.0:9443"
        certificate = "/etc/d.pem"
        key = "/etc/dk.pem"
        proxy_protocol = true
        connections = 7
        serves = ["devices"]
        [[listener]]
        address = "127.0.0.1:9100"
        serves = ["metrics"]
        [tls]
        certificate = "/etc/c.pem"
        key = "/etc/k.pem"
        [tokens]
        lifetime = "2w"
        refresh = "1h"
        [sessions]
        heartbeat = "30s"
        idle_timeout = "2m"
        token_grace = "0s"
        max_frame = 2048
        max_decoded = 65536
        max_decoded_by_device = 131072
        max_header = 1024
        messages_per_second = 7
        message_burst = 8
        bytes_per_second = 20000
        byte_burst = 30000
        queue_messages = 9
        queue_bytes = 5000
        received_bytes = 8192
        queued_bytes = 9000
        [limits]
        connections = 10
        connections_per_address = 9
        accepts_per_second = 20
        accept_burst = 30
        handshake = "5s"
        http_idle = "90s"
        request_body = "6s"
        failed_logins_per_address = 4
        failed_logins_per_account = 5
        request_head = 9000
        request_bytes = 4000000
        request_bytes_per_token = 3000000
        request_bytes_per_address = 2000000
        [drain]
        spread = "10s"
        deadline = "20s"
        [log]
        level = "debug"
        format = "json"
        queue_bytes = 8192
        lines_per_second = 3
        line_burst = 4
        "#,
    );
    let config = load(Some(&path), &[]).unwrap();
    let files = |certificate: &str, key: &str, section: &str| TlsChoice::Files {
        certificate: certificate.into(),
        key: key.into(),
        section: section.into(),
    };
    let tls = files("/etc/c.pem", "/etc/k.pem", "tls");
    let for_devices = Listener {
        proxy_protocol: true,
        connections: Some(7),
        serves: vec![Service::Devices],
        ..everything("0.0.0.0:9443", files("/etc/d.pem", "/etc/dk.pem", "listener[0]"))
    };
    // Its limit is its own without being configured.
    let for_metrics = Listener {
        connections: Some(100),
        serves: vec![Service::Metrics],
        ..everything("127.0.0.1:9100", TlsChoice::Off)
    };
    assert!(for_devices.serves(Service::Devices) && !for_devices.serves(Service::Api));
    let listen = [everything("0.0.0.0:8443", tls.clone()), everything("[::1]:8080", tls)];
    assert_eq!(config.listeners[..2], listen);
    assert_eq!(config.listeners[2..], [for_devices, for_metrics]);
    let networks = ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"];
    assert_eq!(config.trusted_proxies, networks.map(|network| network.parse::<IpNet>().unwrap()));
    assert_eq!(config.path, "/devices/socket");
    assert_eq!(config.data_dir, Path::new("/var/lib/fedecks"));
    assert_eq!(config.store.file(), Some(Path::new("/srv/store.sqlite")));
    let seconds = Duration::from_secs;
    assert_eq!(config.tokens, Tokens { lifetime: seconds(1_209_600), refresh: seconds(3600) });
    let sessions = Sessions {
        heartbeat: seconds(30),
        idle_timeout: seconds(120),
        token_grace: seconds(0),
        max_frame: 2048,
        max_decoded: 65_536,
        max_decoded_by_device: 131_072,
        max_header: 1024,
        messages_per_second: 7,
        message_burst: 8,
        bytes_per_second: 20_000,
        byte_burst: 30_000,
        queue_messages: 9,
        queue_bytes: 5000,
        received_bytes: 8192,
        queued_bytes: 9000,
    };
    assert_eq!(config.sessions, sessions);
    let limits = ServeLimits::default().with(|it| {
        it.connections = 10;
        it.connections_per_address = 9;
        it.accepts_per_second = 20;
        it.accept_burst = 30;
        it.handshake = seconds(5);
        it.http_idle = seconds(90);
        it.request_body = seconds(6);
        it.stalled = seconds(60);
        it.request_head = 9000;
    });
    assert_eq!(config.limits, limits);
    let request_memory =
        RequestMemoryLimits { sum: 4_000_000, per_token: 3_000_000, per_address: 2_000_000 };
    assert_eq!(config.request_memory, request_memory);
    let FailedLoginLimits { per_address, per_account, .. } = config.failed_logins;
    assert_eq!((per_address, per_account), (4, 5));
    assert_eq!(config.drain, Drain { spread: seconds(10), deadline: seconds(20) });
    let log = Log {
        level: LevelFilter::DEBUG,
        format: LogFormat::Json,
        queue_bytes: 8192,
        lines_per_second: 3,
        line_burst: 4,
    };
    assert_eq!(config.log, log);
}

#[test]
fn a_cluster_has_one_server_of_nats_or_several() {
    let store = "store = \"postgres://fedecks@192.0.2.2/fedecks\"";
    let (_folder, path) = file(&format!("{store}\n[cluster]\nnats = \"nats://192.0.2.1\""));
    let cluster = load(Some(&path), &[]).unwrap().cluster.unwrap();
    assert_eq!(
        (&*cluster.nats, &*cluster.prefix),
        (&["nats://192.0.2.1".to_owned()][..], "fedecks")
    );
    assert!(cluster.name.is_none() && cluster.login().unwrap().is_none());
    let password = path.with_file_name("password");
    std::fs::write(&password, "sesame\n").unwrap();
    let environment = [
        ("FEDECKS_CLUSTER_NATS", "tls://one:4222, tls://two:4222"),
        ("FEDECKS_CLUSTER_NATS_USER", "fedecks"),
        ("FEDECKS_CLUSTER_NATS_PASSWORD_FILE", password.to_str().unwrap()),
        ("FEDECKS_CLUSTER_PREFIX", "site-a"),
        ("FEDECKS_CLUSTER_NAME", "one"),
    ];
    let config = load(Some(&path), &environment).unwrap();
    let cluster = config.cluster.as_ref().unwrap();
    assert_eq!(cluster.nats, ["tls://one:4222", "tls://two:4222"]);
    assert_eq!((&*cluster.prefix, cluster.name.as_deref()), ("site-a", Some("one")));
    let (user, secret) = cluster.login().unwrap().unwrap();
    assert_eq!((&*user, secret.expose()), ("fedecks", "sesame"));
    assert!(config.secret_files().contains(&*password));
}

#[test]
fn the_command_line_overrides_the_environment_and_that_the_file() {
    let (_folder, path) =
        file("listen = \"127.0.0.1:1\"\n[limits]\nconnections = 1\naccept_burst = 5");
    let environment = [
        ("FEDECKS_LISTEN", "127.0.0.1:2, 127.0.0.1:3"),
        ("FEDECKS_LIMITS_CONNECTIONS", "2"),
        ("FEDECKS_TLS_SELF_SIGNED", "true"),
    ];
    let config = load(Some(&path), &environment).unwrap();
    assert_eq!(
        config.listeners,
        ["127.0.0.1:2", "127.0.0.1:3"].map(|address| everything(address, TlsChoice::SelfSigned))
    );
    assert_eq!((config.limits.connections, config.limits.accept_burst), (2, 5));

    let listen = vec!["127.0.0.1:4".parse().unwrap()];
    let overrides = Overrides { listen, ..Overrides::default() };
    let config = load_with(Some(&path), &environment, overrides).unwrap();
    assert_eq!(config.listeners, [everything("127.0.0.1:4", TlsChoice::SelfSigned)]);
}

#[test]
fn secrets_come_from_files_and_previous_keys_still_open_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let new_secret = "fedcba9876543210fedcba9876543210";
    let config = format!(
        "secret_file = {:?}\nsalt_file = {:?}\n[[previous_key]]\nsecret_file = {:?}\nsalt = \"the salt\"",
        write("secret", &format!("{new_secret}\n")),
        write("salt", "the salt\r\n"),
        write("previous", SECRET),
    );
    let path = write("cloud.toml", &config);
    let keyring = load(Some(Path::new(&path)), &[]).unwrap().secrets.keyring().unwrap();
    let previous = Keyring::new(SECRET, "the salt").unwrap().seal(&claims()).token;
    assert_eq!(keyring.open(&previous), Ok(claims()));
    let sealed = keyring.seal(&claims()).token;
    let same = Keyring::new(new_secret, "the salt").unwrap();
    assert_eq!(same.open(&sealed), Ok(claims()));
}

#[test]
fn a_secret_in_the_environment_replaces_that_of_the_file() {
    let (_folder, path) = file("");
    let missing = [("FEDECKS_SECRET_FILE", "/nowhere/secret")];
    let config = load(Some(&path), &missing).unwrap();
    let error = config.secrets.keyring().unwrap_err().to_string();
    let start =
        "environment variable FEDECKS_SECRET_FILE: secret_file: cannot read /nowhere/secret: ";
    assert!(error.starts_with(start), "{error}");
    let both = [("FEDECKS_SECRET", SECRET), ("FEDECKS_SECRET_FILE", "/nowhere/secret")];
    let error = load(None, &both).unwrap_err().to_string();
    let expected = "environment variable FEDECKS_SECRET: secret and secret_file are both set; set \
                    only one of them";
    assert_eq!(error, expected);
}

#[test]
fn a_generated_secret_is_kept_and_readable_by_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let overrides = || Overrides { data_dir: Some(folder.path().into()), ..Overrides::default() };
    let secrets = || load_with(None, &[], overrides()).unwrap().secrets;
    assert_eq!(secrets().generated(), Some(folder.path().join("secret").as_path()));
    let token = secrets().keyring().unwrap().seal(&claims()).token;
    assert_eq!(secrets().keyring().unwrap().open(&token), Ok(claims()));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["salt", "secret"]);
}

#[test]
fn listen_has_no_default_if_there_are_listeners() {
    let (_folder, path) = file("[[listener]]\naddress = \"127.0.0.1:1\"");
    let config = load(Some(&path), &[]).unwrap();
    assert_eq!(config.listeners, [everything("127.0.0.1:1", TlsChoice::Off)]);
}

#[cfg(feature = "postgres")]
#[test]
fn the_password_of_a_database_is_not_shown() {
    let url = "postgres://me:hush@db.example/x?password=hush";
    let config = load(None, &[("FEDECKS_STORE", url)]).unwrap();
    assert_eq!(config.store.file(), None);
    let shown = format!("{} {config:?}", config.store);
    assert!(shown.starts_with("postgres://me@db.example:5432/x "), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}
