//! Tests of the configuration: what is accepted, and how each error is worded.

use std::collections::HashMap;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A file with what has to be in each.
fn file(more: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cloud.toml");
    std::fs::write(&path, format!("secret = \"{SECRET}\"\nsalt = \"the salt\"\n{more}\n")).unwrap();
    (folder, path)
}

fn load(
    file: Option<&Path>,
    environment: &[(&str, &str)],
    overrides: Overrides,
) -> Result<Config, ConfigError> {
    let environment: HashMap<_, _> = environment.iter().copied().collect();
    Config::load(file, |name| environment.get(name).map(OsString::from), overrides)
}

fn everything(address: &str, tls: TlsChoice) -> Listener {
    Listener::of_everything(address.parse().unwrap(), tls)
}

/// What is said about a file with these lines, without the file's name.
fn complaint(lines: &str) -> String {
    let (_folder, path) = file(lines);
    let error = load(Some(&path), &[], Overrides::default()).unwrap_err().to_string();
    let rest = error.strip_prefix(&path.display().to_string());
    rest.unwrap_or_else(|| panic!("does not begin with the file: {error}")).to_owned()
}

#[test]
fn without_anything_the_defaults_hold() {
    let config = load(None, &[], Overrides::default()).unwrap();
    assert_eq!(config.listeners, [everything("127.0.0.1:8080", TlsChoice::Off)]);
    assert_eq!(config.trusted_proxies, []);
    assert_eq!(config.path, "/fedecks/websocket");
    assert_eq!(config.store, Path::new("fedecks-data/fedecks.sqlite"));
    assert_eq!(config.tokens.lifetime, Duration::from_secs(28 * 24 * 3600));
    assert_eq!(config.tokens.refresh, Duration::from_secs(3 * 3600));
    assert_eq!(config.sessions.heartbeat, Duration::from_secs(19));
    assert_eq!(config.sessions.idle_timeout, Duration::from_secs(60));
    assert_eq!(config.sessions.max_frame, 1024 * 1024);
    assert_eq!(config.sessions.max_header, 4096);
    assert_eq!(config.limits, ServeLimits::default());
    assert_eq!(config.failed_logins, FailedLoginLimits::default());
    assert_eq!(config.log, Log { level: LogLevel::Info, format: LogFormat::Text });
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let example = include_str!("../../../cloud.example.toml");
    let shown: String = example
        .lines()
        // What has no default.
        .filter(|line| !line.contains("/etc/fedecks/") && !line.contains("former"))
        .filter(|line| !line.contains("/run/secrets/"))
        .scan(false, |in_section, line| {
            let begins = line == "#[[listener]]" || line == "#[[webhook]]";
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
        format!("{:?}", load(Some(&path), &[], Overrides::default()).unwrap())
    };
    assert_eq!(load_text(&shown), load_text(example));
    for (key, _) in keys::KEYS {
        let name = key.rsplit('.').next().unwrap();
        assert!(example.contains(&format!("{name} = ")), "{key} is not in the example");
    }
    for section in ["listener", "webhook"] {
        let (_folder, path) = file(&format!("[[{section}]]\nnonsense = 1\n"));
        let error = load(Some(&path), &[], Overrides::default()).unwrap_err().to_string();
        let (_, keys) = error.split_once("expected one of ").unwrap();
        let (_, shown) = example.split_once(&format!("#[[{section}]]\n")).unwrap();
        let (shown, _) = shown.split_once("\n\n").unwrap();
        for key in keys.split('`').skip(1).step_by(2) {
            let is_shown = shown.lines().any(|line| line.starts_with(&format!("#{key} = ")));
            // Nobody is to copy a secret.
            assert!(is_shown || key == "secret", "{section}.{key} is not in the example");
        }
    }
}

#[test]
fn every_key_of_a_file_is_read() {
    let (_folder, path) = file(
        r#"
        listen = ["0.0.0.0:8443", "[::1]:8080"]
        trusted_proxies = ["10.0.0.0/8", "fd00::/8"]
        path = "/devices/socket"
        data_dir = "/var/lib/fedecks"
        store = "/srv/store.sqlite"
        [[former]]
        secret_file = "/run/secrets/former"
        salt = "former salt"
        [[listener]]
        address = "0.0.0.0:9443"
        certificate = "/etc/d.pem"
        key = "/etc/dk.pem"
        proxy_protocol = true
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
        max_frame = 2048
        max_header = 1024
        messages_per_second = 7
        message_burst = 8
        [limits]
        connections = 10
        connections_per_address = 9
        accepts_per_second = 20
        accept_burst = 30
        handshake = "5s"
        request_body = "6s"
        failed_logins_per_address = 4
        failed_logins_per_account = 5
        request_head = 9000
        [drain]
        spread = "10s"
        deadline = "20s"
        [log]
        level = "debug"
        format = "json"
        "#,
    );
    let config = load(Some(&path), &[], Overrides::default()).unwrap();
    let files = |certificate: &str, key: &str| TlsChoice::Files {
        certificate: certificate.into(),
        key: key.into(),
    };
    let tls = files("/etc/c.pem", "/etc/k.pem");
    let for_devices = Listener {
        proxy_protocol: true,
        serves: vec![Part::Devices],
        ..everything("0.0.0.0:9443", files("/etc/d.pem", "/etc/dk.pem"))
    };
    let for_metrics =
        Listener { serves: vec![Part::Metrics], ..everything("127.0.0.1:9100", TlsChoice::Off) };
    assert!(for_devices.serves(Part::Devices) && !for_devices.serves(Part::Api));
    assert_eq!(
        config.listeners,
        [
            everything("0.0.0.0:8443", tls.clone()),
            everything("[::1]:8080", tls),
            for_devices,
            for_metrics
        ]
    );
    assert_eq!(
        config.trusted_proxies,
        ["10.0.0.0/8".parse::<IpNet>().unwrap(), "fd00::/8".parse().unwrap()]
    );
    assert_eq!(config.path, "/devices/socket");
    assert_eq!(config.data_dir, Path::new("/var/lib/fedecks"));
    assert_eq!(config.store, Path::new("/srv/store.sqlite"));
    let seconds = Duration::from_secs;
    assert_eq!(config.tokens, Tokens { lifetime: seconds(1_209_600), refresh: seconds(3600) });
    let sessions = Sessions {
        heartbeat: seconds(30),
        idle_timeout: seconds(120),
        max_frame: 2048,
        max_header: 1024,
        messages_per_second: 7,
        message_burst: 8,
    };
    assert_eq!(config.sessions, sessions);
    let limits = ServeLimits {
        connections: 10,
        connections_per_address: 9,
        accepts_per_second: 20,
        accept_burst: 30,
        handshake: seconds(5),
        request_body: seconds(6),
        stalled: seconds(60),
        request_head: 9000,
    };
    assert_eq!(config.limits, limits);
    assert_eq!(config.failed_logins, FailedLoginLimits { per_address: 4, per_account: 5 });
    assert_eq!(config.drain, Drain { spread: seconds(10), deadline: seconds(20) });
    assert_eq!(config.log, Log { level: LogLevel::Debug, format: LogFormat::Json });
}

#[test]
fn the_environment_stands_above_the_file_and_the_command_line_above_both() {
    let (_folder, path) =
        file("listen = \"127.0.0.1:1\"\n[limits]\nconnections = 1\naccept_burst = 5");
    let environment = [
        ("FEDECKS_LISTEN", "127.0.0.1:2, 127.0.0.1:3"),
        ("FEDECKS_LIMITS_CONNECTIONS", "2"),
        ("FEDECKS_TLS_SELF_SIGNED", "true"),
    ];
    let config = load(Some(&path), &environment, Overrides::default()).unwrap();
    assert_eq!(
        config.listeners,
        ["127.0.0.1:2", "127.0.0.1:3"].map(|address| everything(address, TlsChoice::SelfSigned))
    );
    assert_eq!((config.limits.connections, config.limits.accept_burst), (2, 5));

    let listen = vec!["127.0.0.1:4".parse().unwrap()];
    let overrides = Overrides { listen, ..Overrides::default() };
    let config = load(Some(&path), &environment, overrides).unwrap();
    assert_eq!(config.listeners, [everything("127.0.0.1:4", TlsChoice::SelfSigned)]);
}

#[test]
fn a_wrong_value_is_told_with_file_line_key_and_expectation() {
    assert_eq!(
        complaint("[limits]\nconnections = \"many\""),
        ", line 4: limits.connections: invalid type: string \"many\", expected u32"
    );
    assert_eq!(
        complaint("listen = \"localhost\""),
        ", line 3: listen: invalid value: string \"localhost\", expected an IP address with a port, \
         such as \"0.0.0.0:8443\" or \"[::]:8443\", or a list of them"
    );
    assert_eq!(
        complaint("[tokens]\nlifetime = 5"),
        ", line 4: tokens.lifetime: invalid type: integer `5`, expected a duration in quotes: a \
         whole number with ms, s, m, h, d or w, such as \"90s\""
    );
    assert_eq!(
        complaint("[log]\nlevel = \"loud\""),
        ", line 4: log.level: unknown variant `loud`, expected one of `error`, `warn`, `info`, \
         `debug`, `trace`"
    );
}

#[test]
fn an_unknown_key_is_refused_and_told_with_the_known_ones() {
    let complaint = complaint("[limits]\nconections = 5");
    assert!(
        complaint.starts_with(", line 4: unknown field `conections`, expected one of"),
        "{complaint}"
    );
    assert!(complaint.contains("`connections`"), "{complaint}");
}

#[test]
fn values_that_do_not_go_together_are_told_with_both() {
    assert_eq!(
        complaint("[sessions]\nheartbeat = \"60s\""),
        ": sessions.idle_timeout: is 60 s, expected more than sessions.heartbeat, which is 60 s"
    );
    assert_eq!(
        complaint("[tokens]\nlifetime = \"1h\""),
        ": tokens.lifetime: is 3600 s, expected more than tokens.refresh, which is 10800 s"
    );
    assert_eq!(
        complaint("[tokens]\nlifetime = \"1500ms\"\nrefresh = \"1s\""),
        ": tokens.lifetime: expected whole seconds"
    );
    assert_eq!(
        complaint("[sessions]\nmax_header = 16384"),
        ": limits.request_head: is 16384, expected at least 1024 more than sessions.max_header, which \
         is 16384"
    );
    assert_eq!(complaint("[tls]\nkey = \"k\""), ": tls.certificate: is missing beside tls.key");
    assert!(
        complaint("[tls]\nkey = \"k\"\nself_signed = true").contains("either the one or the other")
    );
    for path in ["devices", "/", "/a//b", "/a/", "/a b", "/a?b", "/é"] {
        let complaint = complaint(&format!("path = {path:?}"));
        assert!(complaint.starts_with(": path: is "), "{path:?}: {complaint}");
    }
    for (key, value) in [
        ("connections", "0"),
        ("accepts_per_second", "0"),
        ("accept_burst", "0"),
        ("handshake", "\"0s\""),
        ("request_head", "8191"),
    ] {
        let complaint = complaint(&format!("[limits]\n{key} = {value}"));
        assert!(complaint.starts_with(&format!(": limits.{key}: is ")), "{complaint}");
    }
}

#[test]
fn a_wrong_environment_variable_is_named() {
    let complaint =
        |name, value| load(None, &[(name, value)], Overrides::default()).unwrap_err().to_string();
    assert_eq!(
        complaint("FEDECKS_LIMITS_CONNECTIONS", "many"),
        "environment variable FEDECKS_LIMITS_CONNECTIONS: expected a whole number"
    );
    assert_eq!(
        complaint("FEDECKS_TOKENS_LIFETIME", "1h"),
        "environment variable FEDECKS_TOKENS_LIFETIME: tokens.lifetime: is 3600 s, expected more \
         than tokens.refresh, which is 10800 s"
    );
    assert_eq!(
        complaint("FEDECKS_DRAIN_DEADLINE", "61m"),
        "environment variable FEDECKS_DRAIN_DEADLINE: drain.deadline: is 3660 s, expected an \
         hour at most"
    );
    assert!(
        complaint("FEDECKS_LOG_FORMAT", "xml")
            .starts_with("environment variable FEDECKS_LOG_FORMAT: unknown variant `xml`")
    );
}

#[test]
fn a_file_without_a_secret_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cloud.toml");
    std::fs::write(&path, "").unwrap();
    let error = load(Some(&path), &[], Overrides::default()).unwrap_err().to_string();
    assert!(error.contains("cloud.toml: secret: is missing"), "{error}");
    std::fs::write(&path, "secret = \"x\"").unwrap();
    let error = load(Some(&path), &[], Overrides::default()).unwrap_err().to_string();
    assert!(error.contains("cloud.toml: salt: is missing"), "{error}");
}

#[test]
fn no_error_and_no_debug_shows_a_secret() {
    let hidden = "hunter2hunter2";
    for lines in [
        format!("[[former]]\nsecret = \"{hidden}"),
        format!("[[former]]\nsecret = {hidden}"),
        format!("[[former]]\nsecret = \"{hidden}\""),
        format!("[[former]]\nsecret = \"\"\"\n{hidden} = {hidden}\n"),
        "[[former]]\nsecret = 7777777".to_owned(),
        "[[former]]\nsecret = 7777777.5".to_owned(),
        "[[former]]\nsecret = [7777777]".to_owned(),
        "[[former]]\nsecret = { x = 7777777 }".to_owned(),
    ] {
        let complaint = complaint(&lines);
        assert!(!complaint.contains("hunter2") && !complaint.contains("7777777"), "{complaint}");
    }
    let (_folder, path) = file("");
    let config = load(Some(&path), &[], Overrides::default()).unwrap();
    assert!(!format!("{config:?}").contains(SECRET));
    let error = load(
        None,
        &[("FEDECKS_SECRET", hidden), ("FEDECKS_SALT", "the salt")],
        Overrides::default(),
    )
    .unwrap()
    .secrets
    .keyring()
    .unwrap_err()
    .to_string();
    assert!(
        error.starts_with("environment variable FEDECKS_SECRET: secret: the secret has 14"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn secrets_come_from_files_and_the_former_ones_go_on_opening() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let new_secret = "fedcba9876543210fedcba9876543210";
    let config = format!(
        "secret_file = {:?}\nsalt_file = {:?}\n[[former]]\nsecret_file = {:?}\nsalt = \"the salt\"",
        write("secret", &format!("{new_secret}\n")),
        write("salt", "the salt\r\n"),
        write("former", SECRET),
    );
    let path = write("cloud.toml", &config);
    let keyring =
        load(Some(Path::new(&path)), &[], Overrides::default()).unwrap().secrets.keyring().unwrap();
    let claims = fedecks_cloud::auth::Claims {
        device: fedecks_protocol::DeviceId::new("a").unwrap(),
        issued_at: 1,
        expires_at: 2,
        generation: 0,
    };
    let former = fedecks_cloud::Keyring::new(SECRET, "the salt").unwrap().seal(&claims).token;
    assert_eq!(keyring.open(&former), Ok(claims.clone()));
    let sealed = keyring.seal(&claims).token;
    let same = fedecks_cloud::Keyring::new(new_secret, "the salt").unwrap();
    assert_eq!(same.open(&sealed), Ok(claims));
}

#[test]
fn the_environments_secret_takes_the_place_of_the_files() {
    let (_folder, path) = file("");
    let missing = [("FEDECKS_SECRET_FILE", "/nowhere/secret")];
    let config = load(Some(&path), &missing, Overrides::default()).unwrap();
    let error = config.secrets.keyring().unwrap_err().to_string();
    let start =
        "environment variable FEDECKS_SECRET_FILE: secret_file: cannot read /nowhere/secret: ";
    assert!(error.starts_with(start), "{error}");
    let both = [("FEDECKS_SECRET", SECRET), ("FEDECKS_SECRET_FILE", "/nowhere/secret")];
    let error = load(None, &both, Overrides::default()).unwrap_err().to_string();
    assert!(error.contains("expected only one of them"), "{error}");
}

#[test]
fn a_made_secret_is_kept_and_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let overrides = || Overrides { data_dir: Some(folder.path().into()), ..Overrides::default() };
    let keyring = || load(None, &[], overrides()).unwrap().secrets.keyring().unwrap();
    let claims = fedecks_cloud::auth::Claims {
        device: fedecks_protocol::DeviceId::new("a").unwrap(),
        issued_at: 1,
        expires_at: 2,
        generation: 0,
    };
    let token = keyring().seal(&claims).token;
    assert_eq!(keyring().open(&token), Ok(claims));
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
fn listeners_that_cannot_work_are_told() {
    let listener = |lines: &str| complaint(&format!("[[listener]]\n{lines}"));
    assert_eq!(
        listener("address = \"127.0.0.1:1\"\ncertificate = \"/c.pem\""),
        ": listener: the one with address 127.0.0.1:1 has a certificate without a key"
    );
    assert_eq!(
        listener("address = \"127.0.0.1:1\"\nkey = \"/k.pem\""),
        ": listener: the one with address 127.0.0.1:1 has a key without a certificate"
    );
    assert_eq!(
        listener("address = \"127.0.0.1:1\"\nserves = []"),
        ": listener: the one with address 127.0.0.1:1 serves nothing, expected some of \"devices\", \
         \"api\" and \"metrics\""
    );
    assert_eq!(
        listener("address = \"127.0.0.1:1\"\nproxy_protocol = true"),
        ": trusted_proxies: is empty, expected the balancers of the listener with proxy_protocol"
    );
    assert_eq!(
        listener("address = \"127.0.0.1:1\"\n[tls]\nself_signed = true"),
        ": tls: is for the addresses of `listen`, of which there is none"
    );
    let unknown = listener("address = \"127.0.0.1:1\"\nserves = [\"everything\"]");
    assert!(unknown.contains("expected one of `devices`, `api`, `metrics`"), "{unknown}");
    assert_eq!(
        complaint("trusted_proxies = [\"10.0.0.1\", \"balancer\"]"),
        ", line 3: trusted_proxies: invalid value: string \"balancer\", expected an IP address or a \
         network, such as \"10.0.0.1\" or \"10.0.0.0/8\""
    );
}

#[test]
fn listeners_alone_are_the_only_ones() {
    let (_folder, path) = file("[[listener]]\naddress = \"127.0.0.1:1\"");
    let config = load(Some(&path), &[], Overrides::default()).unwrap();
    assert_eq!(config.listeners, [everything("127.0.0.1:1", TlsChoice::Off)]);
}
