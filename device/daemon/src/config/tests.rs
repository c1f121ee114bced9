//! Configurations, good and wrong ones.

use std::fs;

use tempfile::tempdir;

use super::*;

const DEFAULTS: &str = include_str!("../../../data/fedecks.toml");

fn load_with(text: &str, environment: &[(&str, &str)]) -> Result<DeviceConfig, ConfigError> {
    let folder = tempdir().unwrap();
    let file = folder.path().join("f.toml");
    fs::write(&file, text).unwrap();
    let variable = |name: &str| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    };
    DeviceConfig::load(Some(&file), variable)
}

fn load(text: &str) -> DeviceConfig {
    load_with(text, &[]).unwrap()
}

/// The error without the folder's name.
fn error_of(text: &str, environment: &[(&str, &str)]) -> String {
    let error = load_with(text, environment).unwrap_err().to_string();
    error.find("f.toml").map_or(error.clone(), |start| error[start..].to_owned())
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
fn the_environment_holds_against_the_file() {
    let file = "url = \"wss://a\"\ndevice_id = \"a\"\nca_file = \"/a.pem\"\n";
    let config = load_with(
        file,
        &[
            ("FEDECKS_URL", "wss://b"),
            ("FEDECKS_DEVICE_ID", "b"),
            ("FEDECKS_DATA_DIR", "/b"),
            ("FEDECKS_CA_FILE", "/b.pem"),
            ("FEDECKS_ONLY_CA_FILE", "true"),
            ("FEDECKS_LOG", "error"),
            ("FEDECKS_BACKOFF_CAP", ""),
        ],
    )
    .unwrap();
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
    for (text, expected) in [
        ("", "f.toml: url: is missing, and FEDECKS_URL is not set"),
        ("\nurl = 7\n", "f.toml, line 2: url: is of type integer, expected a text in quotes"),
        ("url = true\n", "f.toml, line 1: url: is of type boolean, expected a text in quotes"),
        ("url = \"\"\n", "f.toml, line 1: url: is empty, expected a text"),
        (
            "url = \"https://cloud.example\"\n",
            "f.toml, line 1: url: the URL begins with something else, expected wss:// (or ws:// \
             without TLS)",
        ),
        (
            "url = \"wss://a\"\ndevice_id = \"a b\"\n",
            "f.toml, line 2: device_id: a device id consists of printable ASCII without spaces, \
             '/' and '\\'; character 2 is ' '",
        ),
        (
            "url = \"wss://a\"\nonly_ca_file = true\n",
            "f.toml, line 2: only_ca_file: is set without ca_file",
        ),
        (
            "url = \"wss://a\"\nonly_ca_file = \"yes\"\n",
            "f.toml, line 2: only_ca_file: is of type string, expected true or false",
        ),
        (
            "url = \"wss://a\"\nclient_key = \"k\"\n",
            "f.toml, line 2: client_key: is set without client_cert",
        ),
        (
            "url = \"wss://a\"\nclient_cert = \"c\"\n",
            "f.toml, line 2: client_cert: is set without client_key",
        ),
        (
            "url = \"wss://a\"\nbackoff_cap = \"never\"\n",
            "f.toml, line 2: backoff_cap: expected a duration from 1ms to 1d: a whole number with \
             ms, s, m, h or d, such as \"90s\"",
        ),
        (
            "url = \"wss://a\"\nbackoff_base = \"2m\"\nbackoff_cap = \"1m\"\n",
            "f.toml, line 2: backoff_base: backoff_base is 120s and backoff_cap 60s, expected a \
             base that is not above the cap",
        ),
        (
            "url = \"wss://a\"\nlog = \"loud\"\n",
            "f.toml, line 2: log: is \"loud\", expected error, warn, info, debug or trace",
        ),
        (
            "url = \"wss://a\"\ndevice_id_from = \"nose\"\n",
            "f.toml, line 2: device_id_from: expected one of serial-number, machine-id, mac, \
             hostname",
        ),
    ] {
        assert_eq!(error_of(text, &[]), expected, "{text}");
    }
    let unknown = error_of("url = \"wss://a\"\n\n[tls]\nca_file = \"x\"\n", &[]);
    let names = Field::ALL.map(Field::name).join(", ");
    assert_eq!(unknown, format!("f.toml, line 3: tls: unknown key, expected one of {names}"));
    let broken = error_of("url = \"wss://a\"\nlog = \n", &[]);
    assert!(broken.starts_with("f.toml, line 2: not TOML: "), "{broken}");
}

#[test]
fn errors_name_the_environment_variable() {
    let file = "url = \"wss://a\"\n";
    for (name, value, expected) in [
        (
            "FEDECKS_URL",
            "wss://a:0",
            "environment variable FEDECKS_URL: url: the URL's port is not a number from 1 to 65535",
        ),
        (
            "FEDECKS_ONLY_CA_FILE",
            "yes",
            "environment variable FEDECKS_ONLY_CA_FILE: only_ca_file: is of type string, expected true \
             or false",
        ),
        (
            "FEDECKS_LOG",
            "LOUD",
            "environment variable FEDECKS_LOG: log: is \"LOUD\", expected error, warn, info, debug or \
             trace",
        ),
    ] {
        assert_eq!(error_of(file, &[(name, value)]), expected);
    }
}

#[test]
fn a_password_in_the_url_is_refused_and_not_shown() {
    let error = error_of("url = \"wss://me:hunter2@cloud.example\"\n", &[]);
    assert!(error.contains("a user name or a password"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
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
        let loaded = load_with(&format!("url = \"wss://a\"\nbackoff_cap = \"{text}\"\n"), &[]);
        assert_eq!(loaded.ok().map(|config| config.backoff_cap), expected, "{text}");
    }
}

#[test]
fn a_cap_below_the_default_base_lowers_the_base() {
    let config = load("url = \"wss://a\"\nbackoff_cap = \"200ms\"\n");
    assert_eq!(config.backoff_base, Duration::from_millis(200));
}

#[test]
fn reports_and_the_unreachable_action_are_off_until_they_are_asked_for() {
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
fn an_unreachable_action_that_makes_no_sense_is_refused() {
    for (lines, wrong) in [
        ("unreachable_after = \"3h\"", "unreachable_after: is set without unreachable_action"),
        (
            "unreachable_action = \"reboot\"",
            "unreachable_action: expected the absolute path of a program, without arguments",
        ),
        (
            "unreachable_action = \"/bin/restart\"\nunreachable_after = \"5m\"",
            "unreachable_after: is 300s, expected more than backoff_cap, which is 300s",
        ),
        (
            "report_interval = \"0s\"",
            "report_interval: expected a duration from 1s to 365d: a whole number with ms, s, m, h \
             or d, such as \"90s\"",
        ),
    ] {
        let error = error_of(&format!("url = \"wss://c\"\n{lines}\n"), &[]);
        assert!(error.ends_with(wrong), "{error}");
    }
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let error = DeviceConfig::load(Some(Path::new("/nowhere/f.toml")), |_| None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the configuration /nowhere/f.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn without_a_file_the_environment_is_enough() {
    let settings = Settings::from_file_if_there(Path::new("/nowhere/f.toml")).unwrap();
    let variable = |name: &str| (name == "FEDECKS_URL").then(|| "wss://a".into());
    let config = DeviceConfig::from_settings(settings.with_environment(variable).unwrap());
    assert_eq!(config.unwrap().url, "wss://a".parse().unwrap());
}

#[test]
fn the_default_file_is_good_as_it_is() {
    let config = load(DEFAULTS);
    assert_eq!(config, load("url = \"wss://cloud.example.com\"\n"));
}

#[test]
fn the_default_file_names_every_key_with_its_default() {
    let uncommented: String = DEFAULTS
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    for key in Field::ALL {
        let line = format!("{} = ", key.name());
        assert!(uncommented.lines().any(|text| text.starts_with(&line)), "{line}");
    }
    let (as_it_is, config) = (load(DEFAULTS), load(&uncommented));
    assert_eq!(config.data_dir, as_it_is.data_dir);
    assert_eq!(config.backoff_base, as_it_is.backoff_base);
    assert_eq!(config.backoff_cap, as_it_is.backoff_cap);
    assert_eq!(config.log, as_it_is.log);
}

#[test]
fn the_provisioning_file_is_in_the_data_directory_and_the_credential_where_systemd_says() {
    let file = "url = \"wss://a\"\ndata_dir = \"/data\"\n";
    let config = load_with(file, &[("CREDENTIALS_DIRECTORY", "/run/credentials/u")]).unwrap();
    assert_eq!(config.provision_file, Path::new("/data/provision.toml"));
    let credential = config.provision_credential.unwrap();
    assert_eq!(credential, Path::new("/run/credentials/u/fedecks.provision"));
    let config = load_with(file, &[("CREDENTIALS_DIRECTORY", "")]).unwrap();
    assert_eq!(config.provision_credential, None);
}
