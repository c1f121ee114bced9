//! Commands that root runs in another user's directory: that user may plant links, and needs the files.
//! Skipped unless the tests run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use fedecks_testing::cloud_process::CloudProgram;

use crate::{LISTEN, PROGRAM};

/// The number of a user without a name.
const USER_ID: u32 = 4242;

const INPUT: &str = "forty-two towels\n";

/// A program whose data directory is another user's, in a directory of root's.
fn elsewhere(program: CloudProgram) -> Option<CloudProgram> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    fs::set_permissions(program.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    make_dir(&program.folder.path().join("fedecks-data"));
    Some(program)
}

fn make_dir(dir: &Path) {
    fs::create_dir(dir).unwrap();
    give(dir);
}

fn give(file: &Path) {
    chown(file, Some(USER_ID), Some(USER_ID)).unwrap();
}

/// A link that the user makes.
fn plant(target: impl AsRef<Path>, link: &Path) {
    symlink(target, link).unwrap();
    std::os::unix::fs::lchown(link, Some(USER_ID), Some(USER_ID)).unwrap();
}

fn owners(dir: &Path) -> Vec<(String, u32)> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap());
    let owner = |file: &fs::DirEntry| file.metadata().unwrap().uid();
    files.map(|file| (file.file_name().into_string().unwrap(), owner(&file))).collect()
}

#[tokio::test]
async fn root_creates_nothing_through_a_link() {
    let Some(program) = elsewhere(CloudProgram::new(PROGRAM)) else { return };
    let folder = program.folder.path();
    plant("../victim", &folder.join("fedecks-data/fedecks.sqlite"));
    for arguments in [
        ["account", "add", "marvin", "--data-dir", "fedecks-data"],
        ["token", "add", "marvin", "--role", "read"],
    ] {
        let output = program.output(&arguments, INPUT).await;
        assert!(!folder.join("victim").exists(), "{arguments:?} created the link's target");
        assert_eq!(output.status.code(), Some(78), "{output:?}");
    }
}

#[tokio::test]
async fn root_creates_nothing_in_a_linked_directory() {
    let program = CloudProgram::new(PROGRAM).variable("FEDECKS_STORE", "fedecks-data/sub/store");
    let Some(program) = elsewhere(program) else { return };
    let folder = program.folder.path();
    fs::create_dir(folder.join("victim")).unwrap();
    plant("../victim", &folder.join("fedecks-data/sub"));
    let output = program.output(&["account", "add", "marvin"], INPUT).await;
    assert_eq!(owners(&folder.join("victim")), [], "account add wrote to the linked directory");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[tokio::test]
async fn a_store_that_root_makes_belongs_to_the_directorys_owner() {
    for arguments in [&["account", "add", "marvin"][..], &["token", "add", "me", "--role", "read"]]
    {
        let Some(program) = elsewhere(CloudProgram::new(PROGRAM)) else { return };
        program.run(arguments, INPUT).await;
        let data = program.folder.path().join("fedecks-data");
        assert_eq!(owners(&data), [("fedecks.sqlite".to_owned(), USER_ID)], "{arguments:?}");
        let mode = fs::metadata(data.join("fedecks.sqlite")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn root_reads_the_clocks_floor_as_the_directorys_owner() {
    let Some(program) = elsewhere(CloudProgram::new(PROGRAM)) else { return };
    let data = program.folder.path().join("fedecks-data");
    let far_ahead = 10_000_000_000;
    fedecks_store::FloorFile::in_directory(&data).write(far_ahead).unwrap();
    chown(data.join("clock"), Some(0), Some(0)).unwrap();
    let arguments = ["token", "add", "me", "--role", "read", "--expires", "1d"];
    let output = program.output(&arguments, "").await;
    assert!(output.status.success(), "root read what the owner cannot: {output:?}");
    assert_eq!(fs::metadata(data.join("fedecks.sqlite")).unwrap().uid(), USER_ID);
}

#[tokio::test]
async fn root_backs_up_no_file_that_the_owner_cannot_read() {
    let Some(program) = elsewhere(CloudProgram::new(PROGRAM)) else { return };
    let folder = program.folder.path();
    program.run(&["account", "add", "marvin", "--data-dir", "roots"], INPUT).await;
    plant("../roots/fedecks.sqlite", &folder.join("fedecks-data/fedecks.sqlite"));
    let output = program.output(&["backup", "copy"], "").await;
    assert_eq!(output.status.code(), Some(1), "backup read the link's target: {output:?}");
    assert!(!folder.join("copy").exists());
    let listed = program.output(&["account", "list"], "").await;
    assert_eq!(listed.status.code(), Some(1), "account list read the link's target: {listed:?}");
}

#[tokio::test]
async fn roots_copies_are_roots_and_its_stores_the_owners() {
    let Some(program) = elsewhere(CloudProgram::new(PROGRAM)) else { return };
    let folder = program.folder.path();
    // The owner cannot enter it.
    fs::create_dir(folder.join("private")).unwrap();
    fs::set_permissions(folder.join("private"), PermissionsExt::from_mode(0o700)).unwrap();
    program.run(&["account", "add", "marvin"], INPUT).await;
    program.run(&["backup", "private/copy"], "").await;
    assert_eq!(owners(&folder.join("private")), [("copy".to_owned(), 0)]);
    let mode = fs::metadata(folder.join("private/copy")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = program.fails(&["backup", "private/copy"], 1).await;
    assert!(again.contains("already exists"), "{again}");

    program.run(&["account", "remove", "marvin"], "").await;
    program.run(&["restore", "private/copy"], "").await;
    assert!(program.run(&["account", "list"], "").await.starts_with("marvin\t"));
    let (mut stores, data) = (owners(&folder.join("fedecks-data")), folder.join("fedecks-data"));
    stores.sort();
    let names = ["fedecks.sqlite", "fedecks.sqlite.replaced"];
    assert_eq!(stores, names.map(|name| (name.to_owned(), USER_ID)));

    // A copy in the owner's directory is read by the owner, and one that is not a store by no one.
    program.run(&["backup", "fedecks-data/copy"], "").await;
    assert_eq!(fs::metadata(data.join("copy")).unwrap().uid(), USER_ID);
    program.run(&["restore", "fedecks-data/copy"], "").await;
    fs::write(folder.join("private/text"), "not a store, but long enough to be one").unwrap();
    let error = program.fails(&["restore", "private/text"], 1).await;
    assert!(error.contains("the store private/text: file is not a database"), "{error}");
    assert_eq!(owners(&data).len(), 3, "{:?}", owners(&data));
}

#[tokio::test]
async fn a_copy_is_written_to_standard_output() {
    let program = CloudProgram::new(PROGRAM);
    program.run(&["account", "add", "marvin"], INPUT).await;
    let copy = program.output(&["backup", "-"], "").await;
    assert!(copy.status.success() && copy.stdout.starts_with(b"SQLite format 3\0"));
    let folder = program.folder.path();
    fs::write(folder.join("copy"), copy.stdout).unwrap();
    assert_eq!(fs::read_dir(folder.join("fedecks-data")).unwrap().count(), 1);
    program.run(&["restore", "copy", "--data-dir", "other"], "").await;
    assert!(
        program.run(&["account", "list", "--data-dir", "other"], "").await.starts_with("marvin")
    );
}

#[tokio::test]
async fn root_restores_nothing_into_a_linked_directory() {
    let program = CloudProgram::new(PROGRAM);
    let Some(program) = elsewhere(program) else { return };
    let folder = program.folder.path();
    program.run(&["account", "add", "marvin", "--data-dir", "roots"], INPUT).await;
    program.run(&["backup", "copy", "--data-dir", "roots"], "").await;
    fs::create_dir(folder.join("victim")).unwrap();
    plant("../victim", &folder.join("fedecks-data/sub"));
    let output = program.output(&["restore", "copy", "--data-dir", "fedecks-data/sub"], "").await;
    assert_eq!(owners(&folder.join("victim")), [], "restore wrote to the linked directory");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[tokio::test]
async fn check_config_reads_only_what_the_owner_can_read() {
    let lines = "secret_file = \"fedecks-data/secret\"\nsalt = \"0123456789abcdef\"\n";
    let program = CloudProgram::new(PROGRAM).variable("FEDECKS_CONFIG", "cloud.toml");
    let Some(program) = elsewhere(program) else { return };
    let folder = program.folder.path();
    fs::write(folder.join("cloud.toml"), lines).unwrap();
    fs::write(folder.join("roots"), "too short").unwrap();
    fs::set_permissions(folder.join("roots"), PermissionsExt::from_mode(0o600)).unwrap();
    plant("../roots", &folder.join("fedecks-data/secret"));
    let error = program.fails(&["check-config"], 78).await;
    assert!(error.contains("Permission denied"), "check-config read the link's target: {error}");
}

#[tokio::test]
async fn a_server_that_root_starts_writes_nothing_through_links() {
    let Some(program) = elsewhere(CloudProgram::new(PROGRAM)) else { return };
    let folder = program.folder.path().to_owned();
    fs::create_dir(folder.join("victim")).unwrap();
    plant("../victim", &folder.join("fedecks-data/self-signed"));
    let arguments = [&["serve", "--self-signed"][..], &LISTEN].concat();
    let mut child = program.command(&arguments).spawn().unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(5), child.wait()).await;
    assert_eq!(owners(&folder.join("victim")), [], "serve wrote to the linked directory");
    assert_eq!(ended.unwrap().unwrap().code(), Some(1));

    fs::remove_file(folder.join("fedecks-data/self-signed")).unwrap();
    fs::write(folder.join("precious"), "precious").unwrap();
    plant("../precious", &folder.join("fedecks-data/ready.new"));
    let arguments = [&["serve", "--ready-file", "fedecks-data/ready"][..], &LISTEN].concat();
    let mut child = program.command(&arguments).spawn().unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(5), child.wait()).await;
    let found = fs::read_to_string(folder.join("precious")).unwrap();
    assert_eq!(found, "precious", "serve wrote to the link's target");
    drop(ended);
}

#[tokio::test]
async fn a_server_that_root_starts_acts_as_the_directorys_owner() {
    let Some(program) = elsewhere(CloudProgram::new(PROGRAM)) else { return };
    let folder = program.folder.path().to_owned();
    // Where the owner may write, as the directory of the program is root's.
    make_dir(&folder.join("run"));
    let ready = folder.join("run/ready");
    let arguments =
        [&["serve", "--self-signed", "--ready-file", "run/ready"][..], &LISTEN].concat();
    let mut child = program.command(&arguments).spawn().unwrap();
    fedecks_testing::wait::until(async || ready.exists().then_some(())).await;
    let status = fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    for line in ["Uid:\t4242\t4242\t4242\t4242\n", "Gid:\t4242\t4242\t4242\t4242\n"] {
        assert!(status.contains(line), "the server runs as another user: {status}");
    }
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
    assert_eq!(groups.trim(), "4242");
    for (name, owner) in owners(&folder.join("fedecks-data")) {
        assert_eq!(owner, USER_ID, "{name}");
    }
    child.kill().await.unwrap();
}
