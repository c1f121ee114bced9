//! Commands that need a process: a password from standard input or a terminal, exit codes of the server,
//! a backup while it runs.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use fedecks_protocol::Proof;
use fedecks_testing::cloud_process::CloudProgram;
use fedecks_testing::device::credentials;
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::until;
use fedecks_testing::{PASSWORD, USER};
use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::{LISTEN, PROGRAM};

#[tokio::test]
async fn a_password_is_read_from_standard_input() {
    let program = CloudProgram::new(PROGRAM);
    program.add_account("marvin", "don't panic\n").await;
    program.add_account("arthur", "forty-two").await;
    for (name, password, code, problem) in [
        ("marvin", "another one\n", 1, "fedecks-cloud: the account \"marvin\" already exists\n"),
        ("ford", "short\n", 2, "the password has 5 characters, expected 8 to 1024"),
        (" ", "long enough\n", 2, "an account's name has 1 to 128 characters"),
    ] {
        let output = program.output(&["account", "add", name], password).await;
        assert_eq!(output.status.code(), Some(code), "{name}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(problem), "{error}");
    }
    let listed = program.run(&["account", "list"], "").await;
    let names: Vec<_> = listed.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(names, ["arthur", "marvin"]);
}

#[tokio::test]
async fn an_error_that_quotes_a_path_drives_no_terminal() {
    let program = CloudProgram::new(PROGRAM);
    for command in ["serve", "check-config"] {
        let output =
            program.output(&[command, "--config", "/no/\u{1b}[2J\u{9b}\u{202e}"], "").await;
        let error = String::from_utf8(output.stderr).unwrap();
        let expected = r"cannot read the configuration /no/\u001b[2J\u009b\u202e: No such file";
        assert!(error.contains(expected), "{error:?}");
    }
}

#[test]
fn a_signal_during_the_password_prompt_restores_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let pair = openpty(None, None).unwrap();
    let before = tcgetattr(&pair.slave).unwrap();
    // Makes the terminal that of a new session, so that Ctrl-C becomes a signal.
    let end = || Stdio::from(pair.slave.try_clone().unwrap());
    let mut child = Command::new("setsid")
        .args(["--ctty", "--wait", PROGRAM, "account", "add", "marvin"])
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

#[tokio::test]
async fn a_server_that_cannot_start_has_exit_code_78() {
    let with_files = CloudProgram::new(PROGRAM)
        .variable("FEDECKS_TLS_CERTIFICATE", "c.pem")
        .variable("FEDECKS_TLS_KEY", "k.pem");
    let with_short_secret = CloudProgram::new(PROGRAM)
        .variable("FEDECKS_SECRET", "hunter2")
        .variable("FEDECKS_SALT", "the salt");
    let with_webhook = CloudProgram::configured(
        PROGRAM,
        "[[webhook]]\nname = \"x\"\nurl = \"http://x\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n\
         ca_file = \"nowhere.pem\"",
    );
    for (program, problem) in [
        (with_webhook, "cannot read PEM certificates from nowhere.pem"),
        (with_files, "cannot read a PEM certificate from c.pem"),
        (with_short_secret, "FEDECKS_SECRET: secret: the secret has 7 characters"),
    ] {
        let error = program.fails(&[&["serve"], &LISTEN[..]].concat(), 78).await;
        assert!(error.contains(problem) && !error.contains("hunter2"), "{error}");
    }
    let error = CloudProgram::new(PROGRAM).fails(&["serve", "--nonsense"], 2).await;
    assert!(error.contains("Usage: fedecks-cloud serve"), "{error}");
}

#[tokio::test]
async fn a_backup_is_made_and_restored_while_the_server_runs() {
    let program = CloudProgram::new(PROGRAM);
    program.add_account(USER, PASSWORD).await;
    let server = program.serve(&LISTEN).await;
    let (program, folder) = (&server.program, server.program.folder.path());
    let login = async |id| {
        let proof = Proof::Credentials(credentials(USER, PASSWORD));
        RawDevice::dial(server.address, id, proof).await.map_err(|refused| refused.reason)
    };
    program.run(&["device", "block", "before", "--allow-unknown"], "").await;
    program.run(&["backup", "copy.sqlite"], "").await;
    let mode = fs::metadata(folder.join("copy.sqlite")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = program.fails(&["backup", "copy.sqlite"], 1).await;
    assert!(again.contains("already exists"), "{again}");

    program.run(&["account", "remove", USER], "").await;
    program.run(&["device", "unblock", "before"], "").await;
    assert_eq!(login("nerves-1").await.unwrap_err().as_deref(), Some("bad-credentials"));
    program.run(&["restore", "copy.sqlite"], "").await;
    login("nerves-1").await.unwrap();
    until(async || {
        let refused = login("before").await.err().flatten();
        (refused.as_deref() == Some("blocked")).then_some(())
    })
    .await;
    assert!(folder.join("fedecks-data/fedecks.sqlite.replaced").exists());
}
