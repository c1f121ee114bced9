//! Valid and invalid configurations.

use std::fs;

use fedecks_device::error::InvalidUrl;

use super::raw::KEYS;
use super::*;

const SHIPPED: &str = include_str!("../../../data/fedecks.toml");

fn parse(text: Option<&str>, environment: &[(&str, &str)]) -> Result<DeviceConfig, ConfigError> {
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    DeviceConfig::parse(Path::new("f.toml"), text, &environment.collect())
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
        client_cert_login = true
        device_id_from = "mac"
        provision_file = "/boot/provision.toml"
        backoff_base = "500ms"
        backoff_cap = "2m"
        network = "netlink"
        max_decoded = 1048576
        max_waiting = 524288
        keep_bytes = 262144
        queue_max_bytes = 2097152
        queue_max_messages = "100"
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
        tls: TlsOptions::new(Trust::Only("/etc/fedecks/ca.pem".into()))
            .identity(Identity::new("/etc/fedecks/device.pem", "/etc/fedecks/device.key")),
        tls_places: config.tls_places.clone(),
        provision_file: "/boot/provision.toml".into(),
        provision_credential: None,
        certificate_login: Some("/etc/fedecks/device.pem".into()),
        backoff_base: Duration::from_millis(500),
        backoff_cap: Duration::from_secs(120),
        network: NetworkWatch::Netlink,
        max_decoded: 1024 * 1024,
        max_waiting: 512 * 1024,
        keep_bytes: 256 * 1024,
        queue_limits: (2 * 1024 * 1024, 100),
        report_interval: Some(Duration::from_secs(900)),
        unreachable_action: Some(UnreachableAction {
            program: "/usr/libexec/restart".into(),
            after: Duration::from_secs(48 * 3_600),
        }),
        log: tracing::Level::DEBUG,
        warnings: Vec::new(),
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
        ("FEDECKS_PROVISION_FILE", "/b.toml"),
    ];
    let config = parse(Some(file), &variables).unwrap();
    assert_eq!(config.url, "wss://b".parse().unwrap());
    assert_eq!(config.device_id.unwrap().as_str(), "b");
    assert_eq!(config.data_dir, Path::new("/b"));
    assert_eq!(config.provision_file, Path::new("/b.toml"));
    assert_eq!(config.tls.trust, Trust::Only("/b.pem".into()));
    assert_eq!(config.log, tracing::Level::ERROR);
    assert_eq!(config.backoff_cap, Duration::from_secs(300));
    assert_eq!(load(file).tls.trust, Trust::PublicAnd("/a.pem".into()));
}

/// Lines of a configuration, and the problem with the last one: an error, or where `...` follows, a warning, as the
/// default is used.
const PROBLEMS: &str = r#"
url = 7
    url: must be a string in quotes, not 7
url = true
    url: must be a string in quotes, not true
url = ""
    url: must not be empty
data_dir = ""
    data_dir: must not be empty
only_ca_file = true
    only_ca_file is set but ca_file is not
only_ca_file = "yes"
    only_ca_file: must be true or false, not "yes"
only_ca_file = 1
    only_ca_file: must be true or false, not 1
client_cert_login = "yes"
    client_cert_login: must be true or false, not "yes"...
client_cert_login = true
    client_cert_login is set but client_cert is not...
client_key = "k"
    client_key is set but client_cert is not
client_cert = "c"
    client_cert is set but client_key is not
backoff_cap = "never"
    backoff_cap: "never" is not a duration; expected a whole number with ms, s, m, h, d or w, such as 90s (1ms to 1d)...
backoff_base = "5"
    backoff_base: "5" has no unit; write "5s" (1ms to 1d)...
backoff_cap = "25h"
    backoff_cap: "25h" is out of range (1ms to 1d)...
backoff_cap = "1m"
backoff_base = "2m"
    backoff_base (120s) must not exceed backoff_cap (60s)...
log = "loud"
    log: "loud" is not a log level; expected error, warn, info, debug or trace...
device_id_from = "nose"
    device_id_from: "nose" is not a source; expected serial-number, machine-id, mac or hostname
unreachable_after = "3h"
    unreachable_after is set but unreachable_action is not...
unreachable_action = "reboot"
    unreachable_action must be the absolute path of a program, without arguments...
unreachable_action = "/bin/restart"
unreachable_after = "5m"
    unreachable_after (300s) must be longer than backoff_cap (300s)...
max_decoded = 1000
    max_decoded: must be a number of bytes from 65536 to 67108864, not 1000...
max_waiting = "2 MiB"
    max_waiting: must be a number of bytes from 65536 to 67108864, not "2 MiB"...
report_interval = "0s"
    report_interval: "0s" is out of range (1s to 365d)...
"#;

#[test]
fn problems_name_the_line_the_key_and_what_was_expected() {
    let mut lines: Vec<&str> = Vec::new();
    for line in PROBLEMS.trim().lines() {
        if let Some(expected) = line.strip_prefix("    ") {
            if !lines[0].starts_with("url") {
                lines.insert(0, "url = \"wss://a\"");
            }
            let text = lines.join("\n");
            let expected = format!("f.toml, line {}: {expected}", lines.len());
            match expected.strip_suffix("...") {
                None => assert_eq!(error_of(&text, &[]), expected),
                Some(warning) => {
                    let config = load(&text);
                    assert_eq!(config.warnings.len(), 1, "{text}");
                    let warned = config.warnings[0].strip_suffix("; using the default");
                    assert_eq!(warned.unwrap_or(&config.warnings[0]), warning);
                    // All others are as if the line was not there.
                    let without = load(&lines[..lines.len() - 1].join("\n"));
                    assert_eq!(DeviceConfig { warnings: Vec::new(), ..config }, without);
                }
            }
            lines.clear();
        } else {
            lines.push(line);
        }
    }
    let scheme = error_of("\nurl = \"https://c\"\n", &[]);
    assert_eq!(scheme, format!("f.toml, line 2: url: \"https://c\": {}", InvalidUrl::Scheme));
    let device_id = error_of("url = \"wss://a\"\ndevice_id = \"a b\"\n", &[]);
    let expected = DeviceId::new("a b").unwrap_err();
    assert_eq!(device_id, format!("f.toml, line 2: device_id: {expected}"));
    assert_eq!(error_of("", &[]), "f.toml: url is missing and FEDECKS_URL is not set");
    let broken = error_of("url = \"wss://a\"\nlog = \n", &[]);
    assert!(broken.starts_with("f.toml, line 2: invalid TOML: "), "{broken}");
}

#[test]
fn unknown_keys_are_ignored_unless_they_may_decide_on_trust() {
    let url = "url = \"wss://a\"\n";
    for lines in ["newer = \"hunter2\"", "[newer]\nurl = \"hunter2\"", "a.b.c = 1", "[[x]]\n[[x]]"]
    {
        let config = load(&format!("{url}{lines}"));
        assert_eq!(config.warnings.len(), 1, "{lines}");
        assert!(config.warnings[0].starts_with("f.toml, line 2: "), "{:?}", config.warnings);
        assert!(!config.warnings[0].contains("hunter2"));
        assert_eq!(DeviceConfig { warnings: Vec::new(), ..config }, load(url), "{lines}");
    }
    for (lines, expected) in [
        ("ca_fil = \"x\"", "ca_fil: unknown key; is ca_file meant?"),
        ("Client-Cert = \"x\"", "Client-Cert: unknown key; is client_cert meant?"),
        (
            "only_pins = true",
            "only_pins: unknown key; this version cannot restrict what it trusts in this way",
        ),
        (
            "[tls]\nca_file = \"x\"",
            "tls: unknown key; ca_file belongs before the first line in brackets",
        ),
        (
            "[newer]\ndata_dir = \"x\"",
            "newer: unknown key; data_dir belongs before the first line in brackets",
        ),
    ] {
        assert_eq!(error_of(&format!("{url}{lines}"), &[]), format!("f.toml, line 2: {expected}"));
    }
    let many: String = (0..1_000).map(|number| format!("\"k\\u0007{number}\" = 1\n")).collect();
    let warnings = load(&format!("{url}{many}")).warnings;
    assert_eq!(warnings.len(), 17);
    assert!(warnings.iter().all(|line| line.len() < 100 && !line.contains('\u{7}')));
}

#[test]
fn a_warning_quotes_little_of_a_long_value() {
    let config = load(&format!("url = \"wss://cloud.test\"\nlog = \"{}\"", "ü".repeat(100_000)));
    let [warning] = &*config.warnings else { panic!("{}", config.warnings.len()) };
    assert!(warning.starts_with("f.toml, line 2: log: \"üüü"), "{}", warning.len());
    assert!(warning.ends_with("ü…; using the default") && warning.len() < 600, "{}", warning.len());
}

#[test]
fn bytes_that_are_not_utf_8_matter_only_outside_comments() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    let load = |text: &[u8]| {
        fs::write(&file, [b"\xef\xbb\xbf", text].concat()).unwrap();
        DeviceConfig::load(Some(&file), [])
    };
    let config = load(b"# K\xfcche\r\nurl = \"wss://a\"\r\n").unwrap();
    assert_eq!(config.warnings.len(), 1);
    let error = load(b"url = \"wss://a\"\r\nca_file = \"/K\xfcche\"\r\n").unwrap_err().to_string();
    assert!(error.ends_with("f.toml, line 2: ca_file: is not UTF-8"), "{error}");
    let ignored = b"url = \"wss://a\"\nlog = \"K\xfc\"\n\"K\\n\xfc\" = \"K\xfc\"\n";
    assert_eq!(load(ignored).unwrap().warnings.len(), 3);
    let error = load(&vec![b'#'; 300_000]).unwrap_err().to_string();
    assert!(error.ends_with("it is longer than 262144 bytes"), "{error}");
}

#[test]
fn errors_name_the_environment_variable() {
    let port = format!("url: {}", InvalidUrl::Port);
    let flag = "only_ca_file: must be true or false, not \"yes\"";
    let level = "log: \"LOUD\" is not a log level; expected error, warn, info, debug or trace";
    let alone = "client_key is set but client_cert is not";
    for (name, value, expected) in [
        ("FEDECKS_URL", "wss://a:0", &*port),
        ("FEDECKS_ONLY_CA_FILE", "yes", flag),
        ("FEDECKS_CLIENT_KEY", "k", alone),
    ] {
        let error = error_of("url = \"wss://a\"\nlog = \"info\"\n", &[(name, value)]);
        assert_eq!(error, format!("environment variable {name}: {expected}"));
    }
    let config =
        parse(Some("url = \"wss://a\"\nlog = \"debug\"\n"), &[("FEDECKS_LOG", "LOUD")]).unwrap();
    let expected = format!("environment variable FEDECKS_LOG: {level}; using the default");
    assert_eq!((config.log, config.warnings), (tracing::Level::INFO, vec![expected]));
}

#[test]
fn a_password_in_the_url_is_refused_and_not_shown() {
    for url in [
        "wss://me:hunter2@cloud.example",
        "https://me:hunter2@cloud.example",
        "wss://cloud.example/?token=hunter2",
        "wss://cloud.example/#hunter2",
        "wss://cloud.example:hunter2",
        "me:hunter2",
    ] {
        let error = error_of(&format!("url = \"{url}\"\n"), &[]);
        assert!(error.starts_with("f.toml, line 1: url: "), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let error = error_of("url = \"wss://me@cloud.example\"\n", &[]);
    assert_eq!(error, format!("f.toml, line 1: url: {}", InvalidUrl::UserInfo));
}

#[test]
fn durations_are_bounded_and_never_zero() {
    let cap = |text: &str| {
        let text = format!("url = \"wss://a\"\nbackoff_cap = \"{text}\"\n");
        let config = load(&text);
        config.warnings.is_empty().then_some(config.backoff_cap.as_millis())
    };
    for (text, expected) in [("1ms", 1), ("1 h", 3_600_000), ("1d", 86_400_000)] {
        assert_eq!(cap(text), Some(expected), "{text}");
    }
    let too_long = ["99999999999999999999d", "18446744073709551615d", "25h"];
    for text in too_long.into_iter().chain(["0s", "5", "-5s", "1.5s"]) {
        assert_eq!(cap(text), None, "{text}");
    }
    // A cap below the default base lowers the base.
    let config = load("url = \"wss://a\"\nbackoff_cap = \"200ms\"\n");
    assert_eq!(config.backoff_base, Duration::from_millis(200));
}

#[test]
fn reports_and_the_unreachable_action_are_off_by_default() {
    let load = |lines: &str| load(&format!("url = \"wss://c\"\n{lines}"));
    let config = load("");
    assert_eq!((config.report_interval, config.unreachable_action), (None, None));
    assert_eq!((config.max_decoded, config.max_waiting), (4 * 1024 * 1024, 2 * 1024 * 1024));
    let interval = load("report_interval = \"90m\"\n").report_interval;
    assert_eq!(interval, Some(Duration::from_secs(5_400)));
    for (lines, hours) in [("", 24), ("unreachable_after = \"3h\"\n", 3)] {
        let action = load(&format!("{lines}unreachable_action = \"/bin/restart\"\n"));
        let after = Duration::from_secs(hours * 3_600);
        let expected = UnreachableAction { program: "/bin/restart".into(), after };
        assert_eq!(action.unreachable_action, Some(expected));
    }
}

#[test]
fn misspelled_environment_variables_are_noticed() {
    let variables = [("FEDECKS_REPORT", "1h"), ("FEDECKS_UNREACHABLE_TIMES", "3"), ("PATH", "/")];
    let config = parse(Some("url = \"wss://a\"\n"), &variables).unwrap();
    assert_eq!(config.warnings, ["environment variable FEDECKS_REPORT: unknown, ignored"]);
    for (name, expected) in [
        ("FEDECKS_CAFILE", "unknown; is ca_file meant?"),
        ("FEDECKS_ONLY_PINS", "unknown; this version cannot restrict what it trusts in this way"),
    ] {
        let error = error_of("url = \"wss://a\"\n", &[(name, "x")]);
        assert_eq!(error, format!("environment variable {name}: {expected}"));
    }
}

#[test]
fn a_given_file_must_exist_and_the_default_one_need_not() {
    let error = DeviceConfig::load(Some(Path::new("/nowhere/f.toml")), []).unwrap_err();
    let expected =
        "cannot read the configuration /nowhere/f.toml: No such file or directory (os error 2)";
    assert_eq!(error.to_string(), expected);
    let config = parse(None, &[("FEDECKS_URL", "wss://a")]).unwrap();
    assert_eq!(config.url, "wss://a".parse().unwrap());
    let error = parse(None, &[("FEDECKS_LOG", "info")]).unwrap_err().to_string();
    assert_eq!(error, "no configuration: f.toml does not exist and FEDECKS_URL is not set");
    let error = parse(None, &[("FEDECKS_ULR", "wss://a")]).unwrap_err().to_string();
    assert!(error.ends_with("FEDECKS_URL is not set; FEDECKS_ULR is unknown"), "{error}");
    assert_eq!(DeviceConfig::DEFAULT_FILE, "/etc/fedecks/fedecks.toml");
}

#[test]
fn the_shipped_file_names_every_key_with_its_default() {
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
