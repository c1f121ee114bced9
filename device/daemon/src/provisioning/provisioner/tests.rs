//! What the next start does after power cuts, other programs and users.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fedecks_protocol::{IssuedToken, Token};
use tempfile::{TempDir, tempdir};

use super::*;

/// A data directory for a provisioning file, and a folder for a credential.
struct Device {
    folder: TempDir,
}

impl Device {
    fn new() -> Self {
        let folder = tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        Self { folder }
    }

    fn with_file() -> Self {
        let device = Self::new();
        write(&device.file(), GOOD);
        device
    }

    fn with_credential() -> Self {
        let device = Self::new();
        write(&device.credential(), GOOD);
        device
    }

    fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(name)
    }

    fn file(&self) -> PathBuf {
        self.data("provision.toml")
    }

    fn credential(&self) -> PathBuf {
        self.folder.path().join("fedecks.provision")
    }

    /// A new start of the service.
    fn start(&self) -> Provisioner {
        self.start_as("kitchen-1")
    }

    fn start_as(&self, device: &str) -> Provisioner {
        let file = self.folder.path().join("fedecks.toml");
        let lines = format!("url = \"wss://cloud.example\"\ndata_dir = {:?}\n", self.data(""));
        fs::write(&file, lines).unwrap();
        let environment = [("CREDENTIALS_DIRECTORY".into(), self.folder.path().into())];
        let config = DeviceConfig::load(Some(&file), environment);
        Provisioner::new(
            &config.unwrap(),
            &DataDir::unlocked(self.data("")),
            DeviceId::new(device).unwrap(),
        )
    }

    /// A new start that begins a login.
    fn begin(&self) -> (Provisioner, Attempt) {
        let mut provisioner = self.start();
        let attempt = next(&mut provisioner).unwrap();
        provisioner.begin(&attempt);
        (provisioner, attempt)
    }

    fn store(&self, token: &str) {
        let token = IssuedToken { token: Token::new(token).unwrap(), expires_at: 1 };
        let device = DeviceId::new("kitchen-1").unwrap();
        TokenStore::new(self.data(""), device).save(&token).unwrap();
    }

    fn has_record(&self) -> bool {
        self.data("provisioning").exists()
    }
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

const GOOD: &str = "password = \"hunter2\"\n";
const OTHER: &str = "password = \"another\"\n";

fn next(provisioner: &mut Provisioner) -> Option<Attempt> {
    match provisioner.next(false) {
        Next::LogIn(attempt, _) => Some(attempt),
        Next::Nothing => None,
        Next::NoRecord(error) => panic!("{error}"),
    }
}

fn states(provisioner: &Provisioner) -> Vec<(SourceState, bool)> {
    let status = provisioner.watch();
    let status = status.borrow();
    status.sources.iter().map(|source| (source.state, source.is_there)).collect()
}

#[test]
fn a_power_cut_during_the_login_lets_it_be_tried_again() {
    let device = Device::with_file();
    device.begin();
    assert!(device.has_record());
    let (mut provisioner, attempt) = device.begin();
    assert_eq!(attempt.source.kind, SourceKind::File);
    provisioner.used(&attempt);
    assert!(!device.file().exists() && !device.has_record());
    assert_eq!(states(&provisioner), [(SourceState::Used, false), (SourceState::Absent, false)]);
}

#[test]
fn a_power_cut_after_the_token_is_stored_counts_as_used() {
    for before in [None, Some("the-old-token")] {
        for is_credential in [false, true] {
            let case = format!("{before:?} {is_credential}");
            let device =
                if is_credential { Device::with_credential() } else { Device::with_file() };
            if let Some(before) = before {
                device.store(before);
            }
            device.begin();
            assert!(next(&mut device.start()).is_some(), "not yet stored: {case}");
            device.store("the-new-token");
            assert!(next(&mut device.start()).is_none(), "{case}");
            assert!(!device.file().exists(), "{case}");
            assert_eq!(device.credential().exists(), is_credential, "{case}");
            assert_eq!(device.has_record(), is_credential, "{case}");
            fs::remove_file(device.data("token")).unwrap();
            assert!(next(&mut device.start()).is_none(), "without the token: {case}");
        }
    }
}

#[test]
fn a_token_from_no_login_does_not_use_up_blocked_credentials() {
    let device = Device::with_file();
    device.store("the-old-token");
    let (mut provisioner, attempt) = device.begin();
    provisioner.put_off_until_later(&attempt, "blocked");
    assert!(next(&mut provisioner).is_none());
    assert_eq!(states(&provisioner)[0], (SourceState::PutOff, true));
    provisioner.try_again();
    assert!(next(&mut provisioner).is_some());
    // The cloud replaces the token that the device continues with.
    device.store("the-old-token-refreshed");
    assert!(next(&mut device.start()).is_some());
    assert!(device.file().exists());
}

#[test]
fn another_device_uses_credentials_from_a_copy_of_the_data() {
    let device = Device::with_credential();
    let (mut provisioner, attempt) = device.begin();
    device.store("the-token");
    provisioner.used(&attempt);
    assert!(next(&mut device.start()).is_none());
    assert!(next(&mut device.start_as("kitchen-2")).is_some());
}

#[test]
fn a_removal_undone_by_a_power_cut_is_repeated() {
    let device = Device::with_file();
    let (mut provisioner, attempt) = device.begin();
    let record = fs::read(device.data("provisioning")).unwrap();
    device.store("the-new-token");
    provisioner.used(&attempt);
    // Neither the removal of the file nor that of the record had reached the disk.
    write(&device.file(), GOOD);
    fs::write(device.data("provisioning"), record).unwrap();
    assert!(next(&mut device.start()).is_none());
    assert!(!device.file().exists());
}

#[test]
fn a_file_replaced_during_the_login_stays() {
    for rejected in [false, true] {
        let device = Device::with_file();
        let (mut provisioner, attempt) = device.begin();
        fs::remove_file(device.file()).unwrap();
        write(&device.file(), OTHER);
        match rejected {
            true => provisioner.rejected(&attempt, "not known"),
            false => provisioner.used(&attempt),
        }
        assert_eq!(fs::read_to_string(device.file()).unwrap(), OTHER, "{rejected}");
        assert!(next(&mut provisioner).is_some(), "{rejected}");
    }
}

#[test]
fn a_file_removed_by_a_user_becomes_absent() {
    let device = Device::with_file();
    let mut provisioner = device.start();
    let attempt = next(&mut provisioner).unwrap();
    provisioner.put_off(&attempt, "a logout");
    assert!(next(&mut provisioner).is_none());
    assert_eq!(states(&provisioner)[0], (SourceState::PutOff, true));
    fs::remove_file(device.file()).unwrap();
    assert!(next(&mut provisioner).is_none());
    assert_eq!(states(&provisioner)[0], (SourceState::Absent, false));
    write(&device.file(), GOOD);
    assert!(next(&mut provisioner).is_some());
}

#[test]
fn a_rejected_file_replaces_the_one_rejected_before() {
    let device = Device::new();
    for (content, reason) in [(GOOD, "first"), (OTHER, "second")] {
        write(&device.file(), content);
        let mut provisioner = device.start();
        let attempt = next(&mut provisioner).unwrap();
        provisioner.rejected(&attempt, reason);
        assert_eq!(states(&provisioner)[0], (SourceState::Rejected, false));
        let read = |name: &str| fs::read_to_string(device.data(name)).unwrap();
        assert_eq!(read("provision.toml.rejected"), content);
        let note = read("provision.toml.rejected.txt");
        assert!(note.starts_with(&format!("Rejected: {reason}.")), "{note}");
        assert!(!device.has_record());
    }
}

#[test]
fn an_unusable_source_is_reported_and_the_next_one_is_used() {
    let device = Device::with_credential();
    write(&device.file(), "password = hunter2\n");
    let mut provisioner = device.start();
    let attempt = next(&mut provisioner).unwrap();
    assert_eq!(attempt.source.kind, SourceKind::Credential);
    provisioner.used(&attempt);
    assert_eq!(states(&provisioner), [(SourceState::Unusable, true), (SourceState::Used, true)]);
    let reason = provisioner.watch().borrow().sources[0].reason.clone().unwrap();
    assert!(reason.starts_with("line 1: invalid TOML") && !reason.contains("hunter2"), "{reason}");
}

#[test]
fn without_a_record_credentials_wait_for_the_timeout() {
    let device = Device::with_credential();
    let mut provisioner = device.start();
    fs::remove_dir(device.data("")).unwrap();
    assert!(matches!(provisioner.next(false), Next::NoRecord(StoreError::NoDirectory { .. })));
    assert!(matches!(provisioner.next(true), Next::LogIn(..)));
    fs::remove_file(device.credential()).unwrap();
    assert!(matches!(provisioner.next(false), Next::Nothing));
}

#[test]
fn a_claim_is_presented_again_after_the_data_is_lost() {
    let device = Device::new();
    write(&device.credential(), "claim = \"fdc_secret\"\n");
    for _ in 0..2 {
        let (mut provisioner, attempt) = device.begin();
        device.store("the-token");
        provisioner.used(&attempt);
        assert!(next(&mut device.start()).is_none());
        fs::remove_dir_all(device.data("")).unwrap();
        fs::create_dir(device.data("")).unwrap();
    }
}
