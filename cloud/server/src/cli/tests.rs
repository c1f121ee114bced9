//! Tests of the commands in this process: what they print, change and complain about. What needs a
//! terminal, a signal or a running server is in `tests/cli`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use fedecks_cloud::Keyring;
use fedecks_store::Actor;

use super::*;
use crate::config::Overrides;

/// What a command prints. It finds its store in `folder`.
pub(super) fn run(folder: &Path, arguments: &[&str]) -> Result<String, CliError> {
    run_on(folder, arguments, false)
}

fn run_on(folder: &Path, arguments: &[&str], is_terminal: bool) -> Result<String, CliError> {
    let folder = folder.to_str().unwrap();
    let place: &[&str] = match arguments {
        ["secret", ..] => &[],
        _ => &["--data-dir", folder],
    };
    let mut printed = Vec::new();
    let mut output = Output { writer: &mut printed, is_terminal };
    execute(parse(&[arguments, place].concat()).unwrap().command, &mut output)?;
    Ok(String::from_utf8(printed).unwrap())
}

pub(super) fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["fedecks-cloud"], arguments].concat())
}

/// The message of a command that fails with exit code 1.
pub(super) fn failure(folder: &Path, arguments: &[&str]) -> String {
    let error = run(folder, arguments).unwrap_err();
    assert_eq!(error.exit_code(), 1, "{arguments:?}: {error}");
    error.to_string()
}

/// `check-config` with this file in `folder`, and the store there.
fn check_config(folder: &Path, configuration: &str) -> Result<String, CliError> {
    let file = folder.join("cloud.toml");
    fs::write(&file, configuration).unwrap();
    run(folder, &["check-config", "--config", file.to_str().unwrap()])
}

/// What it prints, too, if it fails.
fn checked(folder: &Path, configuration: &str) -> (String, Result<(), CliError>) {
    let file = folder.join("cloud.toml");
    fs::write(&file, configuration).unwrap();
    let [file, folder] = [&file, folder].map(|path| path.to_str().unwrap());
    let mut printed = Vec::new();
    let mut output = Output { writer: &mut printed, is_terminal: false };
    let arguments = ["check-config", "--config", file, "--data-dir", folder];
    let done = execute(parse(&arguments).unwrap().command, &mut output);
    (String::from_utf8(printed).unwrap(), done)
}

fn add_account(folder: &Path, name: &str) {
    let overrides = Overrides { data_dir: Some(folder.into()), ..Overrides::default() };
    let config = config::Config::load(None, |_| None, overrides).unwrap();
    let runtime = place::start_runtime().unwrap();
    crate::store::make_if_missing(&config, &runtime).unwrap();
    let store = crate::store::open_store(&config, &runtime).unwrap();
    runtime.block_on(store.add_account(name, "hash", &Actor::cli())).unwrap();
}

#[test]
fn accounts_are_listed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    add_account(folder, "marvin");
    add_account(folder, "arthur");
    let listed = run(folder, &["account", "list"]).unwrap();
    let names: Vec<_> = listed.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(names, ["arthur", "marvin"]);
    assert!(listed.lines().all(|line| line.ends_with('Z')), "{listed}");
    let removed = run(folder, &["account", "remove", "marvin"]).unwrap();
    assert_eq!(removed, "marvin: account removed; the tokens of its devices stay valid\n");
    let gone = failure(folder, &["account", "remove", "marvin"]);
    assert_eq!(gone, "no such account: \"marvin\"");
    assert_eq!(run(folder, &["account", "list"]).unwrap().lines().count(), 1);
}

#[test]
fn lists_begin_with_a_header_on_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    add_account(folder.path(), "marvin");
    for (list, header) in [
        ("account", "NAME\tADDED\n"),
        (
            "device",
            "ID\tFIRST SEEN\tLAST SEEN\tLAST REVOKED\tBLOCKED SINCE\tLABEL\tREGISTERED BY\n",
        ),
        ("claim", "ID\tDEVICES\tSTATE\tUSED\tEXPIRES\tADDED\tLABEL\tNOTE\n"),
        ("token", "NAME\tROLES\tDEVICES\tADDED\tEXPIRES\tLAST USED\n"),
        ("audit", "TIME\tWHO\tWHAT\tDEVICE\tDETAIL\tADDRESS\n"),
    ] {
        let piped = run(folder.path(), &[list, "list"]).unwrap();
        let shown = run_on(folder.path(), &[list, "list"], true).unwrap();
        assert_eq!(shown, format!("{header}{piped}"));
    }
}

#[test]
fn the_store_is_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    add_account(&data, "marvin");
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let store = data.join("fedecks.sqlite");
    assert_eq!(fs::metadata(store).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_command_without_a_store_fails_and_creates_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("fedecks.sqlite");
    let no_store =
        format!("no store at {}; check --config, --data-dir and FEDECKS_DATA_DIR", store.display());
    for arguments in [&["device", "revoke", "nerves-1"][..], &["backup", "x.sqlite"]] {
        let error = run(folder.path(), arguments).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string()), (78, no_store.clone()));
    }
    let no_backup = failure(folder.path(), &["restore", "/nope/x.sqlite"]);
    assert_eq!(no_backup, "no such backup: /nope/x.sqlite");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn device_commands_change_devices_and_are_audited() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    add_account(folder, "marvin");
    for (arguments, printed) in [
        (&["device", "block", "site-a-1", "--allow-unknown"][..], "site-a-1: blocked\n"),
        (&["device", "block", "site-a-1"], "site-a-1: already blocked\n"),
        (
            &["device", "label", "site-a-1", "Pump in the cellar"],
            "site-a-1: labelled \"Pump in the cellar\"\n",
        ),
        (&["device", "revoke", "site-b-1", "--allow-unknown"], "site-b-1: all tokens revoked\n"),
    ] {
        assert_eq!(run(folder, arguments).unwrap(), printed, "{arguments:?}");
    }
    let listed = run(folder, &["device", "list", "--devices", "site-a-*"]).unwrap();
    let columns: Vec<_> = listed.trim_end().split('\t').collect();
    assert_eq!((columns[0], columns[3], columns[5]), ("site-a-1", "-", "Pump in the cellar"));
    assert!(columns[4].ends_with('Z'), "{listed}");
    assert_eq!(run(folder, &["device", "list", "--blocked"]).unwrap(), listed);
    assert_eq!(run(folder, &["device", "list", "--search", "CELLAR"]).unwrap(), listed);
    let all = run(folder, &["device", "list"]).unwrap();
    let revoked = all.strip_prefix(&listed).unwrap().trim_end();
    let columns: Vec<_> = revoked.split('\t').collect();
    assert_eq!((columns[0], columns[1], columns[4], columns[5]), ("site-b-1", "never", "-", "-"));
    assert!(columns[3].ends_with('Z'), "{revoked}");

    let blocked = failure(folder, &["device", "forget", "site-a-1"]);
    assert!(blocked.contains("unblock it first"), "{blocked}");
    for (arguments, printed) in [
        (["device", "unblock", "site-a-1"], "site-a-1: unblocked\n"),
        (["device", "unblock", "site-a-1"], "site-a-1: was not blocked\n"),
        (["device", "forget", "site-a-1"], "site-a-1: forgotten\n"),
    ] {
        assert_eq!(run(folder, &arguments).unwrap(), printed, "{arguments:?}");
    }
    assert_eq!(run(folder, &["device", "list"]).unwrap().lines().count(), 1);
    for (arguments, problem) in [
        (&["device", "forget", "site-a-1"][..], "no such device: site-a-1"),
        (&["device", "label", "site-a-1", "x"], "no such device: site-a-1"),
        (&["device", "unblock", "site-a-1"], "no such device: site-a-1"),
        (&["device", "label", "site-b-1", " spaces "], "a label has 1 to 128 characters"),
        (&["device", "revoke", "no id"], "a device id consists of"),
    ] {
        let error = run(folder, arguments).unwrap_err().to_string();
        assert!(error.starts_with(problem), "{arguments:?}: {error}");
    }

    let log = run(folder, &["audit", "list"]).unwrap();
    let lines: Vec<_> = log.lines().map(|line| line.split_once('\t').unwrap().1).collect();
    let expected = [
        "cli\tdevice-forgotten\tsite-a-1\t-\t-",
        "cli\tdevice-unblocked\tsite-a-1\t-\t-",
        "cli\tdevice-revoked\tsite-b-1\t-\t-",
        "cli\tdevice-labelled\tsite-a-1\tPump in the cellar\t-",
        "cli\tdevice-blocked\tsite-a-1\t-\t-",
        "cli\taccount-added\t-\tmarvin\t-",
    ];
    assert_eq!(lines, expected);
    let of_one = ["audit", "list", "--device", "site-b-1", "--limit", "5"];
    assert_eq!(run(folder, &of_one).unwrap().lines().count(), 1);
    assert_eq!(run(folder, &["audit", "list", "--limit", "2"]).unwrap().lines().count(), 2);
    let access = ["audit", "list", "--class", "access", "--by", "cli"];
    assert!(log.ends_with(&run(folder, &access).unwrap()) && log.lines().count() == 6);
    assert_eq!(run(folder, &access).unwrap().lines().count(), 1);
    assert_eq!(run(folder, &["audit", "list", "--by", "token:ci"]).unwrap(), "");
}

#[test]
fn a_token_is_shown_once_and_listed_without_itself() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let add = ["token", "add", "ci", "--role", "read", "--role", "send", "--devices", "site-*"];
    let token = run(folder, &[&add[..], &["--expires", "90d"]].concat()).unwrap();
    assert!(token.starts_with("fdk_") && token.len() == 48, "{token}");
    assert_eq!(failure(folder, &add), "the API token \"ci\" already exists");

    let listed = run(folder, &["token", "list"]).unwrap();
    let columns: Vec<_> = listed.trim_end().split('\t').collect();
    assert_eq!(columns[..3], ["ci", "read,send", "site-*"]);
    let day = |since: u64| fedecks_common::utc(since)[..10].to_owned();
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(columns[3].starts_with(&day(now)), "{listed}");
    assert!(columns[4].starts_with(&day(now + 90 * 24 * 3600)), "{listed}");
    assert_eq!(columns[5], "never");
    let store = fs::read(folder.join("fedecks.sqlite")).unwrap();
    let secret = token.trim_end().as_bytes();
    assert!(!store.windows(secret.len()).any(|part| part == secret), "only its hash is kept");

    let revoked = run(folder, &["token", "revoke", "ci"]).unwrap();
    assert_eq!(revoked, "ci: API token revoked\n");
    assert_eq!(failure(folder, &["token", "revoke", "ci"]), "no such API token: \"ci\"");
    assert_eq!(run(folder, &["token", "list"]).unwrap(), "");
}

#[test]
fn a_generated_secret_is_random_and_usable() {
    let folder = tempfile::tempdir().unwrap();
    let generate = || run(folder.path(), &["secret", "generate"]).unwrap();
    let (one, other) = (generate(), generate());
    assert_ne!(one, other);
    let variables: Vec<_> = one.lines().map(|line| line.split_once('=').unwrap()).collect();
    let [("FEDECKS_SECRET", secret), ("FEDECKS_SALT", salt)] = variables[..] else {
        panic!("{one}");
    };
    Keyring::new(secret, salt).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn wrong_usage_has_exit_code_2_and_a_password_is_no_argument() {
    for (arguments, problem) in [
        (&["serve", "--nonsense"][..], "unexpected argument"),
        (&["account", "add", "marvin", "secret42"], "unexpected argument"),
        (&[], "Usage"),
        (&["serve", "--listen", "4433"], "expected IP:PORT, such as 127.0.0.1:8080 or [::]:8443"),
        (&["audit", "list", "--limit", "x"], "expected a whole number above 0"),
        (&["audit", "list", "--limit", "0"], "expected a whole number above 0"),
        (&["audit", "list", "--class", "x"], "expected one of access, devices, sign-ins, logins"),
        (&["token", "add", "x"], "--role"),
        (&["token", "add", "x", "--role", "owner"], "read, send and admin"),
        (&["token", "add", "x", "--role", "read", "--devices", "a/b"], "pattern"),
        (&["token", "add", "x", "--role", "read", "--expires", "soon"], "is not a duration"),
    ] {
        let Err(error) = parse(arguments) else { panic!("{arguments:?}") };
        assert_eq!(error.exit_code(), 2, "{arguments:?}");
        assert!(error.to_string().contains(problem), "{arguments:?}: {error}");
    }
}

#[test]
fn a_wrong_configuration_has_exit_code_78_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cloud.toml");
    fs::write(&file, "[limits]\nconnections = \"many\"\n").unwrap();
    let missing = folder.path().join("missing.toml");
    let invalid = format!(
        "{}, line 2: limits.connections: must be a whole number from 1 to 4294967295",
        file.display()
    );
    let unreadable = format!(
        "cannot read the configuration {}: No such file or directory (os error 2)",
        missing.display()
    );
    for command in [&["serve"][..], &["account", "list"], &["device", "list"]] {
        for (file, problem) in [(&file, &invalid), (&missing, &unreadable)] {
            let arguments = [command, &["--config", file.to_str().unwrap()]].concat();
            let error = run(folder.path(), &arguments).unwrap_err();
            assert_eq!((error.exit_code(), &error.to_string()), (78, problem), "{command:?}");
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is created");
}

const GOOD: &str = "
    listen = \"127.0.0.1:0\"
    secret = \"0123456789abcdef0123456789abcdef\"
    salt = \"the salt\"
";

#[test]
fn check_config_prints_the_effective_settings() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let store = folder.join("fedecks.sqlite");
    let rest = |secret: &str| {
        let store = store.display();
        format!("device socket: /fedecks/websocket\nstore: {store}\nsecret: {secret}\n")
    };
    let secret = rest(&format!("generated ({})", folder.join("secret").display()));
    let secret = secret.replace(".sqlite\n", ".sqlite (will be created)\n");
    assert_eq!(
        run(folder, &["check-config"]).unwrap(),
        format!("listener: 127.0.0.1:8080, plaintext; serves devices, api, metrics\n{secret}")
    );
    run(folder, &["store", "init"]).unwrap();
    assert_eq!(
        check_config(folder, GOOD).unwrap(),
        format!(
            "listener: 127.0.0.1:0, plaintext; serves devices, api, metrics\n{}",
            rest("configured")
        )
    );
    let more = "
        trusted_proxies = [\"10.0.0.1\"]
        [tls]
        self_signed = true
        [[listener]]
        address = \"127.0.0.1:9\"
        proxy_protocol = true
        serves = [\"devices\"]
        [[webhook]]
        name = \"crm\"
        url = \"https://crm.example.com/x\"
        secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"
    ";
    assert_eq!(
        check_config(folder, &format!("{GOOD}{more}")).unwrap(),
        format!(
            "listener: 127.0.0.1:0, TLS, self-signed; serves devices, api, metrics\n\
             listener: 127.0.0.1:9, plaintext, behind the PROXY protocol; serves devices\n\
             {}webhook: crm to https://crm.example.com/…\n",
            rest("configured")
        )
    );
    for (year, word) in [(2020, "expired"), (2060, "expires")] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        certificate.not_before = rcgen::date_time_ymd(2010, 1, 31);
        certificate.not_after = rcgen::date_time_ymd(year, 1, 31);
        let pem = certificate.self_signed(&key).unwrap().pem();
        fs::write(folder.join("c.pem"), pem).unwrap();
        fs::write(folder.join("k.pem"), key.serialize_pem()).unwrap();
        let folder_name = folder.display();
        let tls = format!(
            "[tls]\ncertificate = \"{folder_name}/c.pem\"\nkey = \"{folder_name}/k.pem\"\n"
        );
        let (printed, checked) = checked(folder, &format!("{GOOD}{tls}"));
        let expected = format!(
            "listener: 127.0.0.1:0, TLS with {folder_name}/c.pem ({word} \
             {year}-01-31T00:00:00Z); serves devices, api, metrics\n\
             certificate: {folder_name}/c.pem, for localhost; key ECDSA P-256; issued by itself\n"
        );
        assert!(printed.starts_with(&expected), "{printed}");
        assert_eq!(checked.map_err(|error| error.exit_code()).err(), (year == 2020).then_some(1));
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), 4, "it creates nothing");
}

#[test]
fn check_config_fails_without_the_store_of_configured_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("fedecks.sqlite");
    for problem in [format!("no store at {}: ", store.display()), "is empty: ".to_owned()] {
        let error = check_config(folder.path(), GOOD).unwrap_err();
        let (code, error) = (error.exit_code(), error.to_string());
        assert!(code == 78 && error.contains(&problem), "{code}: {error}");
        fs::write(&store, "").unwrap();
    }
}

#[test]
fn a_store_is_made_once_and_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let store = data.join("fedecks.sqlite");
    let made = run(&data, &["store", "init"]).unwrap();
    assert_eq!(made, format!("{}: empty store created\n", store.display()));
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&store).unwrap().permissions().mode() & 0o777, 0o600);
    let made = fs::read(&store).unwrap();
    let exists = format!("the store {:?} already exists", store.display().to_string());
    assert_eq!(failure(&data, &["store", "init"]), exists);
    assert_eq!(fs::read(&store).unwrap(), made);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1);

    // A link to nothing is not a missing store, and an empty file is not a store.
    fs::remove_file(&store).unwrap();
    std::os::unix::fs::symlink("elsewhere", &store).unwrap();
    assert_eq!(failure(&data, &["store", "init"]), exists);
    assert!(!data.join("elsewhere").exists());
    fs::remove_file(&store).unwrap();
    fs::write(&store, "").unwrap();
    let empty = format!("the store {} is empty", store.display());
    assert_eq!(failure(&data, &["store", "init"]), empty);

    // SQLite would apply an old write-ahead log to a new store.
    fs::remove_file(&store).unwrap();
    fs::write(data.join("fedecks.sqlite-wal"), "old").unwrap();
    let error = failure(&data, &["store", "init"]);
    assert!(error.ends_with("fedecks.sqlite-wal of an earlier store is still there"), "{error}");
    assert!(!store.exists());
}

#[test]
fn check_config_reads_what_the_server_would_read() {
    let folder = tempfile::tempdir().unwrap();
    let webhook = "[[webhook]]\nname = \"crm\"\nurl = \"http://x\"";
    let signed = format!("{webhook}\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"");
    for (lines, problem) in [
        (
            "[tls]\ncertificate = \"nowhere.pem\"\nkey = \"k.pem\"",
            "cloud.toml, line 6: tls.certificate: cannot read a PEM certificate from nowhere.pem",
        ),
        ("[drain]\nspread = 5", "cloud.toml, line 6: drain.spread: "),
        (&format!("{webhook}\nsecret_file = \"gone\""), "webhook.secret_file: cannot read gone: "),
        (&format!("{webhook}\nsecret = \"short\""), "webhook.secret: crm: expected `whsec_`"),
        (
            &format!("{signed}\nkinds = [\"messages\"]"),
            "line 9: webhook.kinds: \"messages\" must be one of connected, ",
        ),
        (
            &format!("{signed}\ndevices = \"a/b\""),
            "line 9: webhook.devices: \"a/b\" is not valid: a pattern",
        ),
        (
            &format!("{signed}\nconcurrency = 0"),
            "line 9: webhook.concurrency: must be a whole number, at least 1",
        ),
        (
            &format!("{signed}\nkeep_bytes = 0"),
            "line 9: webhook.keep_bytes: must be a whole number, at least 1",
        ),
        (
            &format!("{signed}\nca_file = \"nowhere.pem\""),
            "cannot read PEM certificates from nowhere.pem",
        ),
        (&signed.replace("http://", "ftp://"), "line 7: webhook.url: must be https://HOST/PATH"),
    ] {
        let error = check_config(folder.path(), &format!("{GOOD}{lines}\n")).unwrap_err();
        assert_eq!(error.exit_code(), 78, "{lines}");
        let error = error.to_string();
        assert!(error.contains(problem) && !error.contains("short"), "{lines}: {error}");
    }
}
