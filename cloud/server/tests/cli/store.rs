use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::support::{
    PATIENCE, Server, add_account, folder, program, run, run_with_input, stderr, stdout,
};

#[test]
fn accounts_are_added_listed_and_removed() {
    let folder = folder();
    add_account(folder.path(), "marvin", "don't panic\n");
    add_account(folder.path(), "arthur", "forty-two");
    let listed = run(folder.path(), &["account", "list"]);
    let listed = stdout(&listed);
    let names: Vec<_> = listed.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(names, ["arthur", "marvin"]);
    assert!(listed.lines().all(|line| line.ends_with('Z')), "{listed}");

    let again = run_with_input(folder.path(), &["account", "add", "marvin"], "another one\n");
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(stderr(&again), "fedecks-cloud: the account \"marvin\" exists already\n");

    assert!(run(folder.path(), &["account", "remove", "marvin"]).status.success());
    let gone = run(folder.path(), &["account", "remove", "marvin"]);
    assert_eq!(gone.status.code(), Some(1));
    assert_eq!(stderr(&gone), "fedecks-cloud: there is no account \"marvin\"\n");
    assert_eq!(stdout(&run(folder.path(), &["account", "list"])).lines().count(), 1);
}

#[test]
fn a_bad_password_or_name_adds_no_account() {
    let folder = folder();
    let short = run_with_input(folder.path(), &["account", "add", "marvin"], "short\n");
    assert_eq!(short.status.code(), Some(1));
    assert!(stderr(&short).contains("the password has 5 characters, expected 8 to 1024"));
    let unnamed = run_with_input(folder.path(), &["account", "add", " "], "long enough\n");
    assert_eq!(unnamed.status.code(), Some(1));
    assert_eq!(stdout(&run(folder.path(), &["account", "list"])), "");
}

#[test]
fn a_signal_while_the_password_is_asked_for_gives_the_terminal_back() {
    let folder = folder();
    let pair = openpty(None, None).unwrap();
    let before = tcgetattr(&pair.slave).unwrap();
    let direct = program(folder.path(), &["account", "add", "marvin"]);
    // Makes the terminal that of a new session, so that Ctrl-C becomes a signal.
    let end = || Stdio::from(pair.slave.try_clone().unwrap());
    let mut child = Command::new("setsid")
        .args(["--ctty", "--wait"])
        .arg(direct.get_program())
        .args(direct.get_args())
        .current_dir(folder.path())
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    let mut terminal = fs::File::from(pair.master);
    let mut screen = String::new();
    while !screen.contains("Password for marvin: ") {
        let mut chunk = [0; 256];
        let count = terminal.read(&mut chunk).unwrap();
        screen.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
    let hidden = tcgetattr(&pair.slave).unwrap();
    assert!(!hidden.local_flags.contains(LocalFlags::ECHO));
    // Ctrl-Z, which would leave the terminal as it is, and Ctrl-C.
    terminal.write_all(b"half\x1a\x03").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let after = tcgetattr(&pair.slave).unwrap();
    assert_eq!(after.local_flags, before.local_flags);
    assert_eq!(after.control_chars, before.control_chars);
}

#[test]
fn what_is_kept_is_for_the_owner_only() {
    let folder = folder();
    add_account(folder.path(), "marvin", "don't panic\n");
    let data = folder.path().join("fedecks-data");
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let store = data.join("fedecks.sqlite");
    assert_eq!(fs::metadata(store).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn devices_are_revoked_and_listed() {
    let folder = folder();
    // Without a store the command was told the wrong place, and it makes none there.
    let nowhere = run(folder.path(), &["device", "revoke", "nerves-1"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(stderr(&nowhere).contains("there is no store at"), "{}", stderr(&nowhere));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    add_account(folder.path(), "marvin", "long enough");
    let revoked = run(folder.path(), &["device", "revoke", "nerves-1"]);
    assert_eq!(stdout(&revoked), "nerves-1: its tokens are worthless now\n");
    let listed = run(folder.path(), &["device", "list"]);
    assert_eq!(stdout(&listed), "nerves-1\tnever\tnever\trevoked\t-\t-\n");
    let wrong = run(folder.path(), &["device", "revoke", "no id"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("a device id is made of"), "{}", stderr(&wrong));
}

#[test]
fn devices_are_labelled_blocked_and_forgotten_and_all_of_it_is_on_the_record() {
    let folder = folder();
    add_account(folder.path(), "marvin", "long enough");
    let done = |arguments: &[&str]| {
        let output = run(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    };
    assert_eq!(done(&["device", "block", "site-a-1"]), "site-a-1: now blocked\n");
    assert_eq!(done(&["device", "block", "site-a-1"]), "site-a-1: already blocked\n");
    assert_eq!(done(&["device", "label", "site-a-1", "Pump in the cellar"]), "");
    done(&["device", "revoke", "site-b-1"]);
    let listed = done(&["device", "list", "--devices", "site-a-*"]);
    let columns: Vec<_> = listed.trim_end().split('\t').collect();
    assert_eq!((columns[0], columns[3], columns[5]), ("site-a-1", "-", "Pump in the cellar"));
    assert!(columns[4].ends_with('Z'), "{listed}");
    assert_eq!(done(&["device", "list", "--blocked"]), listed);
    assert_eq!(done(&["device", "list", "--search", "CELLAR"]), listed);
    assert_eq!(done(&["device", "list"]).lines().count(), 2);

    let blocked = run(folder.path(), &["device", "forget", "site-a-1"]);
    assert_eq!(blocked.status.code(), Some(1));
    assert!(stderr(&blocked).contains("unblock it first"), "{}", stderr(&blocked));
    assert_eq!(done(&["device", "unblock", "site-a-1"]), "site-a-1: not blocked any more\n");
    assert_eq!(done(&["device", "forget", "site-a-1"]), "site-a-1: forgotten\n");
    assert_eq!(done(&["device", "list"]).lines().count(), 1);
    for command in [&["device", "forget", "site-a-1"][..], &["device", "label", "site-a-1", "x"]] {
        let unknown = run(folder.path(), command);
        assert_eq!(unknown.status.code(), Some(1));
        assert_eq!(stderr(&unknown), "fedecks-cloud: there is no device site-a-1\n");
    }
    let label = run(folder.path(), &["device", "label", "site-b-1", " spaces "]);
    assert!(stderr(&label).contains("a label has 1 to 128 characters"), "{}", stderr(&label));

    let log = done(&["audit", "list"]);
    let told: Vec<_> =
        log.lines().map(|line| line.split_once('\t').unwrap().1.to_owned()).collect();
    assert_eq!(
        told,
        [
            "cli\tdevice-forgotten\tsite-a-1\t-",
            "cli\tdevice-unblocked\tsite-a-1\t-",
            "cli\tdevice-revoked\tsite-b-1\t-",
            "cli\tdevice-labelled\tsite-a-1\tPump in the cellar",
            "cli\tdevice-blocked\tsite-a-1\t-",
            "cli\taccount-added\t-\tmarvin",
        ]
    );
    let of_one = done(&["audit", "list", "--device", "site-b-1", "--limit", "5"]);
    assert_eq!(of_one.lines().count(), 1);
}

#[test]
fn a_token_is_shown_once_and_listed_without_itself() {
    let folder = folder();
    let add = ["token", "add", "ci", "--role", "read", "--role", "send", "--devices", "site-*"];
    let added = run(folder.path(), &[&add[..], &["--expires", "90d"]].concat());
    assert!(added.status.success(), "{}", stderr(&added));
    let token = stdout(&added);
    assert!(token.starts_with("fdk_") && token.len() == 48, "{token}");
    let again = run(folder.path(), &add);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(stderr(&again), "fedecks-cloud: the API token \"ci\" exists already\n");

    let listed = stdout(&run(folder.path(), &["token", "list"]));
    assert!(listed.starts_with("ci\tread,send\tsite-*\t20"), "{listed}");
    assert!(listed.ends_with("Z\tnever\n"), "{listed}");
    let store = fs::read(folder.path().join("fedecks-data/fedecks.sqlite")).unwrap();
    let secret = token.trim_end().as_bytes();
    assert!(!store.windows(secret.len()).any(|part| part == secret), "only its hash is kept");

    for wrong in [
        &["token", "add", "x"][..],
        &["token", "add", "x", "--role", "owner"],
        &["token", "add", "x", "--role", "read", "--devices", "a/b"],
        &["token", "add", "x", "--role", "read", "--expires", "soon"],
    ] {
        assert_eq!(run(folder.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert!(run(folder.path(), &["token", "revoke", "ci"]).status.success());
    let gone = run(folder.path(), &["token", "revoke", "ci"]);
    assert_eq!(stderr(&gone), "fedecks-cloud: there is no API token \"ci\"\n");
    assert_eq!(stdout(&run(folder.path(), &["token", "list"])), "");
}

#[test]
fn a_backup_made_while_the_server_runs_is_restored_while_it_runs() {
    let folder = folder();
    add_account(folder.path(), "marvin", "don't panic\n");
    let server = Server::start(program(folder.path(), &["serve", "--listen", "127.0.0.1:0"]));
    let done = |arguments: &[&str]| {
        let output = run(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    };
    done(&["device", "block", "before"]);
    done(&["backup", "copy.sqlite"]);
    let mode = fs::metadata(folder.path().join("copy.sqlite")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = run(folder.path(), &["backup", "copy.sqlite"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("already exists"), "{}", stderr(&again));

    done(&["account", "remove", "marvin"]);
    done(&["device", "unblock", "before"]);
    let (_, head) = server.login("nerves-1", "marvin", "don't panic");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    done(&["restore", "copy.sqlite"]);
    let (_, head) = server.login("nerves-1", "marvin", "don't panic");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let (_, head) = server.login("before", "marvin", "don't panic");
        if head.contains("x-fedecks-refusal: blocked\r\n") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{head}");
    }
    assert!(folder.path().join("fedecks-data/fedecks.sqlite.replaced").exists());
}

#[test]
fn a_generated_secret_is_random_and_good_for_a_server() {
    let folder = folder();
    let generate = || stdout(&run(folder.path(), &["secret", "generate"]));
    let (one, other) = (generate(), generate());
    assert_ne!(one, other);
    let variables: Vec<_> = one.lines().map(|line| line.split_once('=').unwrap()).collect();
    assert_eq!(
        variables.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["FEDECKS_SECRET", "FEDECKS_SALT"]
    );
    fedecks_cloud::Keyring::new(variables[0].1, variables[1].1).unwrap();
    assert!(!folder.path().join("fedecks-data").exists());
}
