//! The first login by a file or a credential.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedecks_protocol::Term;

use crate::support::cloud::{By, Cloud, PASSWORD, Seen, USER};
use crate::support::fedecksd::{Fedecksd, Setup, is_anywhere_in};
use crate::support::{PATIENCE, is_root, within};

async fn cloud() -> (Cloud, Setup) {
    let cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let setup = Setup::new(&format!("ws://{}", cloud.address));
    (cloud, setup)
}

fn good() -> String {
    format!("username = {USER:?}\npassword = {PASSWORD:?}\n")
}

fn wrong() -> String {
    format!("username = {USER:?}\npassword = \"a-typing-mistake\"\n")
}

fn write(file: &Path, content: &str) {
    // Whole at once, as whoever looks meanwhile shall not see half of it.
    let new = file.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, PermissionsExt::from_mode(0o600)).unwrap();
    fs::rename(new, file).unwrap();
}

/// A folder beside the data, as a boot partition.
fn boot(setup: Setup) -> (Setup, PathBuf) {
    let folder = setup.folder.path().join("boot");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("provision.toml");
    (setup.line("provision_file", file.to_str().unwrap()), file)
}

/// The service sees this folder read-only; everybody else can write it.
fn read_only(setup: Setup, folder: &Path) -> Setup {
    let folder = folder.display();
    let script = format!(
        "mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && exec \"$@\""
    );
    setup.by(&["unshare", "--mount", "sh", "-c", &script, "sh"])
}

/// How the device connects next; what it says until then is passed over.
async fn connected(cloud: &mut Cloud) -> By {
    loop {
        if let Seen::Connected(by) = cloud.next().await {
            return by;
        }
    }
}

/// Waits until the status says this of the sources: each one's state, and whether secrets lie there.
async fn told(cloud: &mut Cloud, expected: &[(&str, bool)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|&(state, is_there)| (Some(Term::from(state)), Some(Term::Bool(is_there))))
        .collect();
    let mut last = Vec::new();
    let all = async {
        while last != expected {
            let Seen::Message(report) = cloud.next().await else { continue };
            let health = report.get("fedecks.health").unwrap();
            let Some(Term::List(sources)) = health.get("provisioning") else {
                panic!("{health:?}")
            };
            let of =
                |source: &Term| (source.get("state").cloned(), source.get("is_there").cloned());
            last = sources.iter().map(of).collect();
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        panic!("the status says {last:?}, expected {expected:?}");
    }
}

fn reporting(setup: Setup) -> Setup {
    setup.line("report_interval", "1s")
}

#[tokio::test]
async fn a_file_in_the_data_directory_is_used_once_and_nothing_of_it_stays() {
    let (mut cloud, setup) = cloud().await;
    let file = setup.data().join("provision.toml");
    write(&file, &good());
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.says("used and removed").await;
    let log = service.terminate_and_tell().await;
    assert!(!log.contains(PASSWORD) && !log.contains(USER), "{log}");
    assert!(!is_anywhere_in(setup.folder.path(), PASSWORD));
    let mut names: Vec<_> = fs::read_dir(setup.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("time"))
        .collect();
    names.sort();
    assert_eq!(names, ["token"]);
    let service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Token);
    let log = service.terminate_and_tell().await;
    assert!(!log.contains("logging in"), "{log}");
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_is_used_once_and_again_only_when_it_changes() {
    if !is_root() {
        return;
    }
    let (mut cloud, setup) = cloud().await;
    let (setup, file) = boot(setup);
    let setup = reporting(read_only(setup, file.parent().unwrap()));
    write(&file, &good());
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    let said = service.says("used but is still there").await;
    assert!(said.contains("Read-only file system"), "{said}");
    told(&mut cloud, &[("used", true)]).await;
    service.terminate().await;
    assert!(!is_anywhere_in(&setup.data(), PASSWORD));

    for _ in 0..2 {
        let mut service = setup.start();
        assert_eq!(connected(&mut cloud).await, By::Token);
        service.says("used but is still there").await;
        told(&mut cloud, &[("used", true)]).await;
        let log = service.terminate_and_tell().await;
        assert!(!log.contains("logging in"), "{log}");
    }

    write(&file, &format!("# once more\n{}", good()));
    let mut service = setup.start();
    while connected(&mut cloud).await != By::Credentials {}
    service.says("used but is still there").await;
    service.terminate().await;
    let service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Token);
    service.terminate().await;

    // Now it can be removed, and is.
    let setup = setup.by(&[]);
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Token);
    service.says("used and removed").await;
    assert!(!file.exists());
}

#[tokio::test]
async fn a_user_who_may_not_remove_the_file_uses_it_once() {
    if !is_root() {
        return;
    }
    let (mut cloud, setup) = cloud().await;
    let (setup, file) = boot(setup);
    write(&file, &good());
    // The folder is root's, the file and the data are the user's.
    let nobody = Some(65_534);
    for path in [setup.data(), file.clone()] {
        chown(path, nobody, nobody).unwrap();
    }
    let folder = setup.folder.path();
    for path in [folder, file.parent().unwrap()] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    // The program may be where that user sees nothing.
    let script = format!(
        "cp \"$1\" {0}/fedecksd; shift; \
         exec setpriv --reuid 65534 --regid 65534 --clear-groups {0}/fedecksd \"$@\"",
        folder.display()
    );
    let setup = setup.by(&["sh", "-c", &script, "sh"]);
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    let said = service.says("used but is still there").await;
    assert!(said.contains("Permission denied"), "{said}");
    service.terminate().await;
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Token);
    service.says("used but is still there").await;
}

#[tokio::test]
async fn a_wrong_file_is_set_aside_with_the_reason_and_never_tried_again() {
    let (_cloud, setup) = cloud().await;
    let (setup, file) = boot(setup);
    write(&file, &wrong());
    let mut service = setup.start();
    service.says("rejected and set aside").await;
    let log = service.terminate_and_tell().await;
    assert!(!log.contains("a-typing-mistake"), "{log}");
    assert!(!file.exists());
    let aside = file.with_file_name("provision.toml.rejected");
    assert_eq!(fs::read_to_string(&aside).unwrap(), wrong());
    assert_eq!(fs::metadata(&aside).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        fs::read_to_string(file.with_file_name("provision.toml.rejected.txt")).unwrap(),
        "Not accepted: the cloud refused the login: the credentials were not accepted. The device does \
         not try this file again.\n"
    );
    let mut service = setup.start();
    service.says("unregistered: waiting for a login").await;
    let log = service.terminate_and_tell().await;
    assert!(!log.contains("logging in"), "{log}");
}

#[tokio::test]
async fn a_wrong_file_costs_no_token_and_where_it_cannot_be_moved_it_is_tried_once() {
    if !is_root() {
        return;
    }
    let (mut cloud, setup) = cloud().await;
    let (setup, file) = boot(setup);
    let setup = reporting(setup);
    write(&file, &good());
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.says("used and removed").await;
    service.terminate().await;

    write(&file, &wrong());
    let setup = read_only(setup, file.parent().unwrap());
    for tries in [1, 0] {
        let mut service = setup.start();
        service.says("rejected and cannot be set aside").await;
        assert_eq!(connected(&mut cloud).await, By::Token);
        told(&mut cloud, &[("rejected", true)]).await;
        let log = service.terminate_and_tell().await;
        assert_eq!(log.matches("logging in with").count(), tries, "{log}");
    }
}

#[tokio::test]
async fn a_new_file_logs_in_anew_although_there_is_a_token() {
    let (mut cloud, setup) = cloud().await;
    let file = setup.data().join("provision.toml");
    for _ in 0..2 {
        write(&file, &good());
        let mut service = setup.start();
        service.says("used and removed").await;
        while connected(&mut cloud).await != By::Credentials {}
        service.terminate().await;
    }
}

#[tokio::test]
async fn a_boot_partition_that_is_mounted_late_is_noticed_although_there_is_a_token() {
    if !is_root() {
        return;
    }
    let (mut cloud, setup) = cloud().await;
    let (setup, file) = boot(setup);
    write(&file, &good());
    let setup = setup.by(&["unshare", "--mount"]);
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.says("used and removed").await;
    service.terminate().await;

    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Token);
    let partition = setup.folder.path().join("partition");
    fs::create_dir(&partition).unwrap();
    write(&partition.join("provision.toml"), &good());
    let mounted = tokio::process::Command::new("nsenter")
        .args(["--mount", "--target", &service.id().to_string(), "mount", "--bind"])
        .args([&partition, file.parent().unwrap()])
        .status();
    assert!(within(mounted).await.unwrap().success());
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.says("used and removed").await;
    assert!(!partition.join("provision.toml").exists());
}

#[tokio::test]
async fn a_credential_of_systemd_stays_and_is_used_again_only_when_it_changes() {
    let (mut cloud, setup) = cloud().await;
    let folder = setup.folder.path().join("credentials");
    fs::create_dir(&folder).unwrap();
    let credential = folder.join("fedecks.provision");
    write(&credential, &good());
    // With the list of who may read it that systemd gives it, it looks as if the group could.
    fs::set_permissions(&credential, PermissionsExt::from_mode(0o440)).unwrap();
    let setup = reporting(setup).variable("CREDENTIALS_DIRECTORY", folder.to_str().unwrap());
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.says("the credential is used").await;
    told(&mut cloud, &[("absent", false), ("used", true)]).await;
    service.terminate().await;
    assert!(!is_anywhere_in(&setup.data(), PASSWORD));
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Token);
    service.says("the credential is used").await;
    let log = service.terminate_and_tell().await;
    assert!(!log.contains("logging in"), "{log}");
    assert_eq!(fs::read_to_string(&credential).unwrap(), good());

    write(&credential, &format!("# another\n{}", good()));
    let mut service = setup.start();
    service.says("the credential is used").await;
    while connected(&mut cloud).await != By::Credentials {}
    service.terminate().await;
    write(&credential, &wrong());
    let mut service = setup.start();
    service.says("the credentials of provisioning were rejected").await;
    service.terminate().await;
    let mut service = setup.start();
    service.says("the credentials of provisioning were rejected").await;
    let log = service.terminate_and_tell().await;
    assert!(!log.contains("logging in"), "{log}");
}

#[tokio::test]
async fn the_file_comes_before_the_credential_which_is_then_passed_over() {
    let (mut cloud, setup) = cloud().await;
    let credential = setup.folder.path().join("fedecks.provision");
    let file = setup.data().join("provision.toml");
    write(&credential, &good());
    write(&file, &format!("{}extra = 1\n", good()));
    let folder = setup.folder.path().to_str().unwrap().to_owned();
    let setup = reporting(setup).variable("CREDENTIALS_DIRECTORY", folder);
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.says("used and removed").await;
    service.says("the credential is used").await;
    told(&mut cloud, &[("used", false), ("used", true)]).await;
    service.terminate().await;
    let service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Token);
    let log = service.terminate_and_tell().await;
    assert!(!log.contains("logging in"), "{log}");
}

#[tokio::test]
async fn after_a_wrong_file_the_credential_is_used() {
    let (mut cloud, setup) = cloud().await;
    let credential = setup.folder.path().join("fedecks.provision");
    write(&credential, &good());
    write(&setup.data().join("provision.toml"), &wrong());
    let folder = setup.folder.path().to_str().unwrap().to_owned();
    let setup = setup.variable("CREDENTIALS_DIRECTORY", folder);
    let mut service = setup.start();
    service.says("rejected and set aside").await;
    service.says("the credential is used").await;
    assert_eq!(connected(&mut cloud).await, By::Credentials);
}

#[tokio::test]
async fn a_damaged_file_is_left_and_used_as_soon_as_it_is_good() {
    let (mut cloud, setup) = cloud().await;
    let file = setup.data().join("provision.toml");
    let damaged = "username = \"marvin\"\npassword = forty\n";
    write(&file, damaged);
    let mut service = setup.start();
    let said = service.says("were not used").await;
    assert!(said.contains("line 2: not TOML"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
    // It is looked for while there is no token.
    write(&file, &good());
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.says("used and removed").await;
    let log = service.terminate_and_tell().await;
    assert_eq!(log.matches("were not used").count(), 1, "{log}");
}

#[tokio::test]
async fn a_data_partition_that_comes_late_brings_its_file() {
    let (mut cloud, setup) = cloud().await;
    let (data, away) = (setup.data(), setup.folder.path().join("away"));
    fs::rename(&data, &away).unwrap();
    write(&away.join("provision.toml"), &good());
    let mut service = setup.start();
    service.says("unregistered: waiting for a login").await;
    fs::rename(&away, &data).unwrap();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.says("used and removed").await;
    assert!(data.join("token").exists());
}

#[tokio::test]
async fn a_data_partition_that_comes_late_is_waited_for_before_credentials_are_used_again() {
    if !is_root() {
        return;
    }
    let (mut cloud, setup) = cloud().await;
    let (setup, file) = boot(setup);
    let setup = read_only(setup, file.parent().unwrap());
    write(&file, &good());
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.says("used but is still there").await;
    service.terminate().await;

    let (data, away) = (setup.data(), setup.folder.path().join("away"));
    fs::rename(&data, &away).unwrap();
    let mut service = setup.start();
    service.says("not known yet").await;
    fs::rename(&away, &data).unwrap();
    assert_eq!(connected(&mut cloud).await, By::Token);
    service.terminate().await;
}

#[tokio::test]
async fn without_a_data_partition_it_connects_all_the_same_and_the_file_stays() {
    let (mut cloud, setup) = cloud().await;
    let (setup, file) = boot(setup);
    // Cannot be made: what it would be in is not there either.
    let setup = setup.line("data_dir", "/nowhere/at/all");
    write(&file, &good());
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.says("stay until the token is on disk").await;
    service.terminate().await;
    assert_eq!(fs::read_to_string(&file).unwrap(), good());
}

#[tokio::test]
async fn a_token_that_could_not_be_stored_is_stored_at_the_end_and_only_then_the_file_goes() {
    let (mut cloud, setup) = cloud().await;
    let (setup, file) = boot(setup);
    let (data, away) = (setup.data(), setup.folder.path().join("away"));
    // A file in the place of the folder: neither can be read nor made.
    fs::rename(&data, &away).unwrap();
    fs::write(&data, "").unwrap();
    write(&file, &good());
    let mut service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    service.says("stay until the token is on disk").await;
    assert_eq!(fs::read_to_string(&file).unwrap(), good());
    fs::remove_file(&data).unwrap();
    fs::rename(&away, &data).unwrap();
    let log = service.terminate_and_tell().await;
    assert!(log.contains("used and removed"), "{log}");
    assert!(!file.exists());
    let _service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Token);
}

/// Kills the service at a moment after its login that varies, and sees what the next start makes of it.
#[tokio::test]
async fn wherever_the_power_goes_the_next_start_has_a_token_and_leaves_no_password() {
    let (mut cloud, setup) = cloud().await;
    let file = setup.data().join("provision.toml");
    let (mut cut_before_removal, mut by_token) = (0, 0);
    for round in 0..16_u64 {
        for entry in fs::read_dir(setup.data()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        write(&file, &good());
        let service: Fedecksd = setup.start();
        assert_eq!(connected(&mut cloud).await, By::Credentials);
        let token = setup.data().join("token");
        within(async {
            // Half of the rounds wait for the token; then the removal is near.
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
            service.says("used and removed").await;
        }
        let by = connected(&mut cloud).await;
        // Credentials whose token is on disk do not leave the device a second time.
        assert_eq!(by, if had_token { By::Token } else { By::Credentials }, "round {round}");
        by_token += u32::from(is_left && had_token);
        let log = service.terminate_and_tell().await;
        assert!(!log.contains("rejected"), "round {round}: {log}");
        assert!(!file.exists(), "round {round}");
        assert!(!is_anywhere_in(setup.folder.path(), PASSWORD), "round {round}");
    }
    assert!(cut_before_removal > 0, "no round was cut before the removal");
    eprintln!(
        "{cut_before_removal} rounds cut before the removal, {by_token} of them after the token"
    );
}
