//! The first login by a file or a credential.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedecks_protocol::Term;

use crate::support::fedecksd::{Setup, connected, is_anywhere_in};
use crate::support::{
    By, Cloud, PASSWORD, PATIENCE, Seen, USER, cloud, cloud_at, credentials, is_root, within, write,
};

const REMOVED: &str = "used and removed";
const NOT_REMOVED: &str = "used but cannot be removed";
const REJECTED: &str = "rejected and renamed";
const CREDENTIAL_USED: &str = "the provisioning credential was used";
const KEPT: &str = "kept until the token is on disk";

/// A cloud, and a device with a provisioning file in its data directory.
async fn scene() -> (Cloud, Setup, PathBuf) {
    let cloud = cloud().await;
    let setup = Setup::new(cloud.address).line("report_interval", "1s");
    let file = setup.data().join("provision.toml");
    write(&file, credentials(), 0o600);
    (cloud, setup, file)
}

/// The same with the file in another folder, such as a boot partition.
async fn boot_partition() -> (Cloud, Setup, PathBuf) {
    let (cloud, setup, file) = scene().await;
    let new = setup.folder.path().join("boot/provision.toml");
    fs::create_dir(new.parent().unwrap()).unwrap();
    fs::rename(file, &new).unwrap();
    (cloud, setup.line("provision_file", new.to_str().unwrap()), new)
}

/// The same. None, and the test is skipped, without root.
async fn boot_partition_as_root() -> Option<(Cloud, Setup, PathBuf)> {
    if is_root() { Some(boot_partition().await) } else { None }
}

/// The same with a credential of systemd.
async fn credential() -> (Cloud, Setup, PathBuf) {
    let (cloud, setup, file) = boot_partition().await;
    let setup = setup.without("provision_file");
    let credential = file.with_file_name("fedecks.provision");
    fs::rename(&file, &credential).unwrap();
    let folder = credential.parent().unwrap().to_str().unwrap();
    (cloud, setup.variable("CREDENTIALS_DIRECTORY", folder), credential)
}

fn wrong() -> String {
    format!("username = {USER:?}\npassword = \"a-typing-mistake\"\n")
}

/// Makes the folder of `file` read-only for the service alone.
pub(crate) fn read_only(setup: Setup, file: &Path) -> Setup {
    let folder = file.parent().unwrap().display();
    let script = format!(
        "mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && exec \"$@\""
    );
    setup.by(&["unshare", "--mount", "sh", "-c", &script, "sh"])
}

/// Waits until the health has these states of the sources, and whether there are secrets.
async fn reported(cloud: &mut Cloud, expected: &[(&str, bool)]) {
    let expected: Vec<_> =
        expected.iter().map(|&(state, is_there)| (state.into(), is_there.into())).collect();
    let mut last: Vec<(Term, Term)> = Vec::new();
    let all = cloud.until(|seen| {
        let Seen::Message(report) = seen else { return None };
        let health = report.get("fedecks.health").unwrap();
        let Some(Term::List(sources)) = health.get("provisioning") else { panic!("{health:?}") };
        let value = |source: &Term, key| source.get(key).unwrap().clone();
        last = sources.iter().map(|it| (value(it, "state"), value(it, "is_there"))).collect();
        (last == expected).then_some(())
    });
    let is_in_time = tokio::time::timeout(PATIENCE, all).await.is_ok();
    assert!(is_in_time, "the last report was {last:?}, expected {expected:?}");
}

fn assert_no_login(log: &str) {
    assert!(!log.contains("logging in"), "{log}");
}

#[tokio::test]
async fn each_file_in_the_data_directory_is_used_once_and_removed() {
    let (mut cloud, setup, file) = scene().await;
    let log = setup.run(&mut cloud, By::Credentials, REMOVED).await;
    assert!(!log.contains(PASSWORD) && !log.contains(USER), "{log}");
    assert!(!is_anywhere_in(setup.folder.path(), PASSWORD));
    let names = fs::read_dir(setup.data()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let kept = |name: &String| !name.starts_with("time") && name != "lock";
    let names = names.filter(kept);
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["registration-nonce", "token"]);
    assert_no_login(&setup.run(&mut cloud, By::Token, "connected").await);

    // A new one, although there is a token.
    write(&file, credentials(), 0o600);
    let mut service = setup.start();
    service.logs(REMOVED).await;
    while connected(&mut cloud).await != By::Credentials {}

    let address = cloud.stop().await;
    service.logs("connection lost").await;
    assert_eq!(connected(&mut cloud_at(address).await).await, By::Token);
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_is_used_again_only_if_changed() {
    let Some((mut cloud, setup, file)) = boot_partition_as_root().await else { return };
    let setup = read_only(setup, &file);
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    let line = service.logs(NOT_REMOVED).await;
    assert!(line.contains("Read-only file system"), "{line}");
    reported(&mut cloud, &[("used", true)]).await;
    service.terminate().await;
    assert!(!is_anywhere_in(&setup.data(), PASSWORD));

    for _ in 0..2 {
        let mut service = setup.start();
        assert_eq!(connected(&mut cloud).await, By::Token);
        service.logs(NOT_REMOVED).await;
        reported(&mut cloud, &[("used", true)]).await;
        assert_no_login(&service.terminate().await);
    }

    write(&file, format!("# once more\n{}", credentials()), 0o600);
    let mut service = setup.start();
    while connected(&mut cloud).await != By::Credentials {}
    service.logs(NOT_REMOVED).await;
    service.terminate().await;
    setup.run(&mut cloud, By::Token, "connected").await;

    // Now it can be removed.
    setup.by(&[]).run(&mut cloud, By::Token, REMOVED).await;
    assert!(!file.exists());
}

#[tokio::test]
async fn a_file_that_the_user_may_not_remove_is_used_once() {
    let Some((mut cloud, setup, file)) = boot_partition_as_root().await else { return };
    // The folder is owned by root, the file and the data by the user.
    let user = Some(65_534);
    for path in [&setup.data(), &file] {
        chown(path, user, user).unwrap();
    }
    let folder = setup.folder.path();
    for path in [folder, file.parent().unwrap()] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    // The user may not be able to enter the folder of the program.
    let script = format!(
        "cp \"$1\" {0}/fedecksd; shift; \
         exec setpriv --reuid 65534 --regid 65534 --clear-groups {0}/fedecksd \"$@\"",
        folder.display()
    );
    let setup = setup.by(&["sh", "-c", &script, "sh"]);
    let log = setup.run(&mut cloud, By::Credentials, NOT_REMOVED).await;
    let line = log.lines().find(|line| line.contains(NOT_REMOVED)).unwrap();
    assert!(line.contains("Permission denied"), "{line}");
    setup.run(&mut cloud, By::Token, NOT_REMOVED).await;
}

#[tokio::test]
async fn a_rejected_file_is_renamed_and_not_tried_again() {
    let (_cloud, setup, file) = boot_partition().await;
    write(&file, wrong(), 0o600);
    let mut service = setup.start();
    service.logs(REJECTED).await;
    let log = service.terminate().await;
    assert!(!log.contains("a-typing-mistake"), "{log}");
    assert!(!file.exists());
    let renamed = file.with_file_name("provision.toml.rejected");
    assert_eq!(fs::read_to_string(&renamed).unwrap(), wrong());
    assert_eq!(fs::metadata(&renamed).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        fs::read_to_string(file.with_file_name("provision.toml.rejected.txt")).unwrap(),
        "Rejected: the cloud refused the login: the credentials were not accepted. The device will not \
         try this file again.\n"
    );
    let mut service = setup.start();
    service.logs("unregistered: waiting for a login").await;
    assert_no_login(&service.terminate().await);
}

#[tokio::test]
async fn a_rejected_read_only_file_is_tried_once_and_keeps_the_token() {
    let Some((mut cloud, setup, file)) = boot_partition_as_root().await else { return };
    setup.run(&mut cloud, By::Credentials, REMOVED).await;
    write(&file, wrong(), 0o600);
    let setup = read_only(setup, &file);
    for tries in [1, 0] {
        let mut service = setup.start();
        service.logs("rejected but cannot be renamed").await;
        assert_eq!(connected(&mut cloud).await, By::Token);
        reported(&mut cloud, &[("rejected", true)]).await;
        let log = service.terminate().await;
        assert_eq!(log.matches("logging in with").count(), tries, "{log}");
    }
}

#[tokio::test]
async fn a_boot_partition_mounted_late_is_noticed_despite_a_token() {
    let Some((mut cloud, setup, file)) = boot_partition_as_root().await else { return };
    let setup = setup.by(&["unshare", "--mount"]);
    setup.run(&mut cloud, By::Credentials, REMOVED).await;

    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Token);
    let partition = setup.folder.path().join("partition");
    fs::create_dir(&partition).unwrap();
    write(&partition.join("provision.toml"), credentials(), 0o600);
    let mounted = tokio::process::Command::new("nsenter")
        .args(["--mount", "--target", &service.id().to_string(), "mount", "--bind"])
        .args([&partition, file.parent().unwrap()])
        .status();
    assert!(within(mounted).await.unwrap().success());
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.logs(REMOVED).await;
    assert!(!partition.join("provision.toml").exists());
}

#[tokio::test]
async fn a_credential_stays_and_is_used_again_only_if_changed() {
    let (mut cloud, setup, credential) = credential().await;
    // An ACL of systemd shows as the mode of the group.
    fs::set_permissions(&credential, PermissionsExt::from_mode(0o440)).unwrap();
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.logs(CREDENTIAL_USED).await;
    reported(&mut cloud, &[("absent", false), ("used", true)]).await;
    service.terminate().await;
    assert!(!is_anywhere_in(&setup.data(), PASSWORD));
    assert_no_login(&setup.run(&mut cloud, By::Token, CREDENTIAL_USED).await);
    assert_eq!(fs::read_to_string(&credential).unwrap(), credentials());

    write(&credential, format!("# another\n{}", credentials()), 0o600);
    let mut service = setup.start();
    service.logs(CREDENTIAL_USED).await;
    while connected(&mut cloud).await != By::Credentials {}
    service.terminate().await;
    write(&credential, wrong(), 0o600);
    for is_first in [true, false] {
        let mut service = setup.start();
        service.logs("the provisioning credential was rejected").await;
        let log = service.terminate().await;
        assert_eq!(log.contains("logging in"), is_first, "{log}");
    }
}

#[tokio::test]
async fn the_file_comes_before_the_credential() {
    // After a file that was used, the credential is skipped.
    let good = format!("{}extra = 1\n", credentials());
    for (content, handled, state) in [(good, REMOVED, "used"), (wrong(), REJECTED, "rejected")] {
        let (mut cloud, setup, _) = credential().await;
        write(&setup.data().join("provision.toml"), content, 0o600);
        let mut service = setup.start();
        service.logs(handled).await;
        service.logs(CREDENTIAL_USED).await;
        assert_eq!(connected(&mut cloud).await, By::Credentials);
        reported(&mut cloud, &[(state, false), ("used", true)]).await;
        let log = service.terminate().await;
        let logins = if state == "used" { 1 } else { 2 };
        assert_eq!(log.matches("logging in").count(), logins, "{log}");
        assert_no_login(&setup.run(&mut cloud, By::Token, "connected").await);
    }
}

#[tokio::test]
async fn an_unusable_file_stays_and_is_used_once_it_is_valid() {
    let invalid = format!("username = \"marvin\"\npassword = {PASSWORD}\n");
    for (content, mode, problem) in [
        (invalid, 0o600, "line 2: invalid TOML"),
        (credentials(), 0o644, "has mode 0644, expected 0600 or less"),
    ] {
        let (mut cloud, setup, file) = scene().await;
        write(&file, &content, mode);
        let mut service = setup.start();
        let line = service.logs("cannot be used").await;
        assert!(line.contains(problem), "{line}");
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
        // Without a token it is read again and again.
        write(&file, credentials(), 0o600);
        assert_eq!(connected(&mut cloud).await, By::Credentials);
        service.logs(REMOVED).await;
        let log = service.terminate().await;
        assert_eq!(log.matches("cannot be used").count(), 1, "{log}");
        assert!(!log.contains(PASSWORD), "{log}");
    }
}

#[tokio::test]
async fn a_file_on_a_late_data_partition_is_used() {
    let (mut cloud, setup, _) = scene().await;
    let (data, away) = (setup.data(), setup.unmount_data());
    let mut service = setup.start();
    service.logs("unregistered: waiting for a login").await;
    fs::rename(&away, &data).unwrap();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.logs(REMOVED).await;
    assert!(data.join("token").exists());
}

#[tokio::test]
async fn a_late_data_partition_is_awaited_before_a_second_login() {
    let Some((mut cloud, setup, file)) = boot_partition_as_root().await else { return };
    let setup = read_only(setup, &file);
    setup.run(&mut cloud, By::Credentials, NOT_REMOVED).await;

    let away = setup.unmount_data();
    let mut service = setup.start();
    service.logs("cannot read the record of used provisioning credentials yet").await;
    fs::rename(&away, setup.data()).unwrap();
    assert_eq!(connected(&mut cloud).await, By::Token);
    service.terminate().await;
}

#[tokio::test]
async fn without_a_data_partition_it_connects_and_the_file_stays() {
    let (mut cloud, setup, file) = boot_partition().await;
    // It cannot be created, as its parent is missing, too.
    let setup = setup.line("data_dir", "/nowhere/at/all");
    setup.run(&mut cloud, By::Credentials, KEPT).await;
    assert_eq!(fs::read_to_string(&file).unwrap(), credentials());
}

#[tokio::test]
async fn a_file_is_removed_only_after_its_token_is_finally_stored() {
    let (mut cloud, setup, file) = boot_partition().await;
    let (data, away) = (setup.data(), setup.unmount_data());
    // A file with the name of the folder, which can neither be read nor created.
    fs::write(&data, "").unwrap();
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.logs(KEPT).await;
    assert_eq!(fs::read_to_string(&file).unwrap(), credentials());
    fs::remove_file(&data).unwrap();
    fs::rename(&away, &data).unwrap();
    let log = service.terminate().await;
    assert!(log.contains(REMOVED), "{log}");
    assert!(!file.exists());
    let _service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Token);
}

/// Kills the service at varying times after its login, and checks the next start.
#[tokio::test]
async fn after_a_power_cut_there_is_a_token_and_no_password() {
    let (mut cloud, setup, file) = scene().await;
    let token = setup.data().join("token");
    let (mut cut_before_removal, mut by_token) = (0, 0);
    for round in 0..16_u64 {
        for entry in fs::read_dir(setup.data()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        write(&file, credentials(), 0o600);
        let service = setup.start();
        assert_eq!(connected(&mut cloud).await, By::Credentials);
        within(async {
            // Half of the rounds wait for the token, shortly before the removal.
            while round % 2 == 1 && !token.exists() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        std::thread::park_timeout(Duration::from_micros(round * 53 % 900));
        service.kill().await;
        let (is_left, had_token) = (file.exists(), token.exists());
        cut_before_removal += u32::from(is_left);

        let mut service = setup.start();
        if is_left {
            service.logs(REMOVED).await;
        }
        let by = connected(&mut cloud).await;
        // Credentials whose token is on disk are not sent again.
        assert_eq!(by, if had_token { By::Token } else { By::Credentials }, "round {round}");
        by_token += u32::from(is_left && had_token);
        let log = service.terminate().await;
        assert!(!log.contains("rejected"), "round {round}: {log}");
        assert!(!file.exists(), "round {round}");
        assert!(!is_anywhere_in(setup.folder.path(), PASSWORD), "round {round}");
    }
    assert!(cut_before_removal > 0, "no round was cut before the removal");
    eprintln!("{cut_before_removal} rounds cut before the removal, {by_token} after the token");
}
