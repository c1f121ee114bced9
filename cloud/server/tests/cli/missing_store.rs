//! A store that is not where it was: the server never replaces it by an empty one, which would let in what
//! was revoked and blocked.

use std::fs;
use std::process::Stdio;

use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::http::Http;
use fedecks_testing::{PASSWORD, USER};
use nix::sys::signal::Signal;

use crate::{LISTEN, PROGRAM};

async fn stop(mut server: CloudProcess) -> CloudProgram {
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().await, Some(0), "{}", server.log());
    server.program
}

fn remove_store(program: &CloudProgram) {
    for name in ["fedecks.sqlite", "fedecks.sqlite-wal", "fedecks.sqlite-shm"] {
        let _ = fs::remove_file(program.folder.path().join("fedecks-data").join(name));
    }
}

/// Asserts that the server does not start, names the file and the remedies, and creates nothing.
async fn does_not_start(program: &CloudProgram, problem: &str) {
    let arguments = [&["serve"][..], &LISTEN].concat();
    let mut child = program.command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    let limit = std::time::Duration::from_secs(5);
    let ended = tokio::time::timeout(limit, child.wait()).await;
    let ended = ended.map(|ended| ended.unwrap().code());
    assert_eq!(ended, Ok(Some(78)), "the server runs with a new, empty store");
    let error = child.wait_with_output().await.unwrap().stderr;
    let error = String::from_utf8(error).unwrap();
    for text in [problem, "fedecks-data/fedecks.sqlite", "fedecks-cloud store init", "restore"] {
        assert!(error.contains(text), "{text:?} is not in {error}");
    }
}

#[tokio::test]
async fn a_server_does_not_replace_the_store_of_its_secrets() {
    let program = CloudProgram::new(PROGRAM);
    program.add_account(USER, PASSWORD).await;
    let server = program.serve(&LISTEN).await;
    let device = server.device("nerves-1").await;
    server.program.run(&["device", "block", "nerves-1", "--allow-unknown"], "").await;
    drop(device);
    let program = stop(server).await;
    remove_store(&program);
    does_not_start(&program, "no store").await;
    assert!(!program.folder.path().join("fedecks-data/fedecks.sqlite").exists());

    // Nor when the whole directory of the store is elsewhere.
    let program = program.variable("FEDECKS_STORE", "volume/fedecks-data/fedecks.sqlite");
    does_not_start(&program, "no store").await;
    assert!(!program.folder.path().join("volume").exists());
}

#[tokio::test]
async fn a_server_with_configured_secrets_makes_no_store() {
    let program = CloudProgram::configured(PROGRAM, "");
    does_not_start(&program, "no store").await;
    assert!(!program.folder.path().join("fedecks-data").exists());
}

#[tokio::test]
async fn a_server_takes_no_empty_file_for_its_store() {
    let program = CloudProgram::new(PROGRAM);
    let program = stop(program.serve(&LISTEN).await).await;
    remove_store(&program);
    let store = program.folder.path().join("fedecks-data/fedecks.sqlite");
    fs::write(&store, "").unwrap();
    does_not_start(&program, "is empty").await;
    assert_eq!(fs::read(&store).unwrap(), b"");
}

#[tokio::test]
async fn commands_that_make_a_store_say_so() {
    for arguments in [&["account", "add", USER][..], &["token", "add", "me", "--role", "read"]] {
        let program = CloudProgram::new(PROGRAM);
        for made in [true, false] {
            let output = program.output(arguments, "forty-two towels\n").await;
            let said = String::from_utf8(output.stderr).unwrap();
            let expected = "fedecks-cloud: created an empty store, as there was none: \
                            fedecks-data/fedecks.sqlite\n";
            assert_eq!(said.contains(expected), made, "{arguments:?} said {said:?}");
        }
    }
}

#[tokio::test]
async fn the_trial_starts_in_an_empty_folder() {
    let program = CloudProgram::new(PROGRAM);
    let server = program.serve(&[&LISTEN[..], &["--self-signed"]].concat()).await;
    let authority = server.program.folder.path().join("fedecks-data/self-signed/ca.pem");
    assert!(authority.exists());
    assert!(!server.log().contains("migrated"), "{}", server.log());
    let program = stop(server).await;
    let again = program.serve(&LISTEN).await;
    assert_eq!(Http::to(again.address).get("/healthz").await.status, 200);
}
