//! Valid and invalid configurations.

use fedecks_device::InvalidUrl;

use super::raw::KEYS;
use super::*;

const SHIPPED: &str = include_str!("../../../data/fedecks.toml");

fn parse(text: Option<&str>, environment: &[(&str, &str)]) -> Result<DeviceConfig, ConfigError> {
    DeviceConfig::parse(Path::new("f.toml"), text, &|name| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    })
}

fn load(text: &str) -> DeviceConfig {
    parse(Some(text), &[]).unwrap()
}

fn error_of(text: &str, environment: &[(&str, &str)]) -> String {
    parse(Some(text), environment).unwrap_err().to_string()
}

#[test]
fn a_url_is_enough() {
    let config = load("url = \"wss://cloud.example\"\n");
    assert_eq!(config.url, "wss://cloud.example/fedecks/websocket".parse().unwrap());
    assert_eq!(config.data_dir, Path::new("/var/lib/fedecks"));
    assert_eq!(config.tls, TlsOptions::default());
    assert_eq!(config.provision_file, Path::new("/var/lib/fedecks/provision.toml"));
    assert_eq!(config.provision_credential, None);
    assert_eq!(config.backoff_base, Duration::from_secs(1));
    assert_eq!(config.backoff_cap, Duration::from_secs(300));
    assert_eq!(config.log, tracing::Level::INFO);
    assert_eq!(config.device_id, None);
    assert_eq!(config.device_id_from, None);
}

#[test]
fn everything_can_be_set_in_the_file() {
    let config = load(
        r#"
        url = "ws://10.0.2.2:8080/devices"
        device_id = "nerves-242a"
        data_dir = "/data/fedecks"
        ca_file = "/etc/fedecks/ca.pem"
        only_ca_file = true
        client_cert = "/etc/fedecks/device.pem"
        client_key = "/etc/fedecks/device.key"
        device_id_from = "mac"
        provision_file = "/boot/provision.toml"
        backoff_base = "500ms"
        backoff_cap = "2m"
        network = "netlink"
        report_interval = "15m"
        unreachable_action = "/usr/libexec/restart"
        unreachable_after = "2d"
        log = "debug"
        "#,
    );
    let expected = DeviceConfig {
        url: "ws://10.0.2.2:8080/devices".parse().unwrap(),
        device_id: Some(DeviceId::new("nerves-242a").unwrap()),
        device_id_from: Some(IdSource::Mac),
        data_dir: "/data/fedecks".into(),
        tls: TlsOptions {
            trust: Trust::Only("/etc/fedecks/ca.pem".into()),
            identity: Some(Identity {
                certificate: "/etc/fedecks/device.pem".into(),
                key: "/etc/fedecks/device.key".into(),
            }),
        },
        provision_file: "/boot/provision.toml".into(),
        provision_credential: None,
        backoff_base: Duration::from_millis(500),
        backoff_cap: Duration::from_secs(120),
        network: NetworkWatch::Netlink,
        report_interval: Some(Duration::from_secs(900)),
        unreachable_action: Some(UnreachableAction {
            program: "/usr/libexec/restart".into(),
            after: Duration::from_secs(48 * 3_600),
        }),
        log: tracing::Level::DEBUG,
    };
    assert_eq!(config, expected);
}

#[test]
fn the_environment_overrides_the_file() {
    let file = "url = \"wss://a\"\ndevice_id = \"a\"\nca_file = \"/a.pem\"\n";
    let variables = [
        ("FEDECKS_URL", "wss://b"),
        ("FEDECKS_DEVICE_ID", "b"),
        ("FEDECKS_DATA_DIR", "/b"),
        ("FEDECKS_CA_FILE", "/b.pem"),
        ("FEDECKS_ONLY_CA_FILE", "true"),
        ("FEDECKS_LOG", "error"),
        ("FEDECKS_BACKOFF_CAP", ""),
    ];
    let config = parse(Some(file), &variables).unwrap();
    assert_eq!(config.url, "wss://b".parse().unwrap());
    assert_eq!(config.device_id.unwrap().as_str(), "b");
    assert_eq!(config.data_dir, Path::new("/b"));
    assert_eq!(config.tls.trust, Trust::Only("/b.pem".into()));
    assert_eq!(config.log, tracing::Level::ERROR);
    assert_eq!(config.backoff_cap, Duration::from_secs(300));
    assert_eq!(load(file).tls.trust, Trust::PublicAnd("/a.pem".into()));
}

#[test]
fn errors_name_the_line_the_key_and_what_was_expected() {
    let form = "a string in quotes";
    let scheme = format!("url: \"https://cloud.example\": {}", InvalidUrl::Scheme);
    let device_id = format!("device_id: {}", DeviceId::new("a b").unwrap_err());
    // Where there is no url, it is on the first line.
    for (lines, line, expected) in [
        ("\nurl = 7", 2, &*format!("url: invalid type: integer `7`, expected {form}")),
        ("url = true", 1, &format!("url: invalid type: boolean `true`, expected {form}")),
        ("url = \"\"", 1, "url: must not be empty"),
        ("url = \"https://cloud.example\"", 1, &scheme),
        ("device_id = \"a b\"", 2, &device_id),
        ("only_ca_file = true", 2, "only_ca_file is set but ca_file is not"),
        (
            "only_ca_file = \"yes\"",
            2,
            "only_ca_file: invalid value: string \"yes\", expected true or false",
        ),
        ("only_ca_file = 1", 2, "only_ca_file: invalid type: integer `1`, expected true or false"),
        ("client_key = \"k\"", 2, "client_key is set but client_cert is not"),
        ("client_cert = \"c\"", 2, "client_cert is set but client_key is not"),
        (
            "backoff_cap = \"never\"",
            2,
            "backoff_cap: \"never\" is not a duration; expected a whole number with ms, s, m, h, d or w, \
             such as 90s (1ms to 1d)",
        ),
        ("backoff_base = \"5\"", 2, "backoff_base: \"5\" has no unit; write \"5s\" (1ms to 1d)"),
        ("backoff_cap = \"25h\"", 2, "backoff_cap: \"25h\" is out of range (1ms to 1d)"),
        (
            "backoff_cap = \"1m\"\nbackoff_base = \"2m\"",
            3,
            "backoff_base (120s) must not exceed backoff_cap (60s)",
        ),
        (
            "log = \"loud\"",
            2,
            "log: \"loud\" is not a log level; expected error, warn, info, debug or trace",
        ),
        (
            "device_id_from = \"nose\"",
            2,
            "device_id_from: \"nose\" is not a source; expected serial-number, machine-id, mac or hostname",
        ),
        ("unreachable_after = \"3h\"", 2, "unreachable_after is set but unreachable_action is not"),
        (
            "unreachable_action = \"reboot\"",
            2,
            "unreachable_action must be the absolute path of a program, without arguments",
        ),
        (
            "unreachable_action = \"/bin/restart\"\nunreachable_after = \"5m\"",
            3,
            "unreachable_after (300s) must be longer than backoff_cap (300s)",
        ),
        ("report_interval = \"0s\"", 2, "report_interval: \"0s\" is out of range (1s to 365d)"),
    ] {
        let url = if lines.contains("url") { "" } else { "url = \"wss://a\"\n" };
        let error = error_of(&format!("{url}{lines}\n"), &[]);
        assert_eq!(error, format!("f.toml, line {line}: {expected}"), "{lines}");
    }
    assert_eq!(error_of("", &[]), "f.toml: url is missing and FEDECKS_URL is not set");
    let unknown = error_of("url = \"wss://a\"\n\n[tls]\nca_file = \"x\"\n", &[]);
    let names = KEYS.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let expected = format!("f.toml, line 3: tls: unknown field `tls`, expected one of {names}");
    assert_eq!(unknown, expected);
    let broken = error_of("url = \"wss://a\"\nlog = \n", &[]);
    assert!(broken.starts_with("f.toml, line 2: invalid TOML: "), "{broken}");
}

#[test]
fn errors_name_the_environment_variable() {
    let port = format!("\"wss://a:0\": {}", InvalidUrl::Port);
    for (key, value, expected) in [
        ("url", "wss://a:0", &*port),
        ("only_ca_file", "yes", "invalid value: string \"yes\", expected true or false"),
        ("log", "LOUD", "\"LOUD\" is not a log level; expected error, warn, info, debug or trace"),
    ] {
        let name = format!("FEDECKS_{}", key.to_uppercase());
        let error = error_of("url = \"wss://a\"\nlog = \"info\"\n", &[(&name, value)]);
        assert_eq!(error, format!("environment variable {name}: {key}: {expected}"));
    }
    let error = error_of("url = \"wss://a\"\n", &[("FEDECKS_CLIENT_KEY", "k")]);
    let expected =
        "environment variable FEDECKS_CLIENT_KEY: client_key is set but client_cert is not";
    assert_eq!(error, expected);
}

#[test]
fn a_password_in_the_url_is_refused_and_not_shown() {
    for url in ["wss://me:hunter2@cloud.example", "https://me:hunter2@cloud.example"] {
        let error = error_of(&format!("url = \"{url}\"\n"), &[]);
        assert!(error.starts_with("f.toml, line 1: url: the URL"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let error = error_of("url = \"wss://me@cloud.example\"\n", &[]);
    assert_eq!(error, format!("f.toml, line 1: url: {}", InvalidUrl::UserInfo));
}

#[test]
fn durations_are_bounded_and_never_zero() {
    for (text, expected) in [
        ("1ms", Some(Duration::from_millis(1))),
        ("1 h", Some(Duration::from_secs(3_600))),
        ("1d", Some(Duration::from_secs(86_400))),
        ("0s", None),
        ("25h", None),
        ("99999999999999999999d", None),
        ("18446744073709551615d", None),
        ("5", None),
        ("-5s", None),
        ("1.5s", None),
    ] {
        let text = format!("url = \"wss://a\"\nbackoff_cap = \"{text}\"\n");
        let cap = parse(Some(&text), &[]).ok().map(|config| config.backoff_cap);
        assert_eq!(cap, expected, "{text}");
    }
}

#[test]
fn a_cap_below_the_default_base_lowers_the_base() {
    let config = load("url = \"wss://a\"\nbackoff_cap = \"200ms\"\n");
    assert_eq!(config.backoff_base, Duration::from_millis(200));
}

#[test]
fn reports_and_the_unreachable_action_are_off_by_default() {
    let config = load("url = \"wss://c\"\n");
    assert_eq!((config.report_interval, config.unreachable_action), (None, None));
    let config = load(
        "url = \"wss://c\"\nreport_interval = \"90m\"\nunreachable_action = \"/bin/restart\"\n",
    );
    assert_eq!(config.report_interval, Some(Duration::from_secs(5_400)));
    let action = |hours: u64| UnreachableAction {
        program: "/bin/restart".into(),
        after: Duration::from_secs(hours * 3_600),
    };
    assert_eq!(config.unreachable_action, Some(action(24)));
    let config = load(
        "url = \"wss://c\"\nunreachable_after = \"3h\"\nunreachable_action = \"/bin/restart\"\n",
    );
    assert_eq!(config.unreachable_action, Some(action(3)));
}

#[test]
fn a_given_file_must_exist_and_the_default_one_need_not() {
    let error = DeviceConfig::load(Some(Path::new("/nowhere/f.toml")), |_| None).unwrap_err();
    let expected =
        "cannot read the configuration /nowhere/f.toml: No such file or directory (os error 2)";
    assert_eq!(error.to_string(), expected);
    let config = parse(None, &[("FEDECKS_URL", "wss://a")]).unwrap();
    assert_eq!(config.url, "wss://a".parse().unwrap());
    let error = parse(None, &[("FEDECKS_LOG", "info")]).unwrap_err().to_string();
    let expected =
        "no configuration: /etc/fedecks/fedecks.toml does not exist and FEDECKS_URL is not set";
    assert_eq!(error, expected);
}

#[test]
fn the_shipped_file_is_valid_and_names_every_key_with_its_default() {
    assert_eq!(load(SHIPPED), load("url = \"wss://cloud.example.com\"\n"));
    let uncommented: String = SHIPPED
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    for key in KEYS {
        let line = format!("{key} = ");
        assert!(uncommented.lines().any(|text| text.starts_with(&line)), "{line}");
    }
    let (shipped, config) = (load(SHIPPED), load(&uncommented));
    assert_eq!(config.data_dir, shipped.data_dir);
    assert_eq!(config.backoff_base, shipped.backoff_base);
    assert_eq!(config.backoff_cap, shipped.backoff_cap);
    assert_eq!(config.log, shipped.log);
}

#[test]
fn credentials_are_in_the_data_directory_and_where_systemd_says() {
    let file = Some("url = \"wss://a\"\ndata_dir = \"/data\"\n");
    let config = parse(file, &[("CREDENTIALS_DIRECTORY", "/run/credentials/u")]).unwrap();
    assert_eq!(config.provision_file, Path::new("/data/provision.toml"));
    let credential = config.provision_credential.unwrap();
    assert_eq!(credential, Path::new("/run/credentials/u/fedecks.provision"));
    let config = parse(file, &[("CREDENTIALS_DIRECTORY", "")]).unwrap();
    assert_eq!(config.provision_credential, None);
}
