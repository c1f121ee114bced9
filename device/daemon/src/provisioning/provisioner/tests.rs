//! States as power cuts, other programs and other people leave them.

use std::os::unix::fs::PermissionsExt;

use fedecks_protocol::{IssuedToken, Token};
use tempfile::{TempDir, tempdir};

use super::*;

/// A data directory with a provisioning file in it, and a folder for a credential.
struct Device {
    folder: TempDir,
}

impl Device {
    fn new() -> Self {
        let folder = tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        Self { folder }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn file(&self) -> PathBuf {
        self.data().join("provision.toml")
    }

    fn credential(&self) -> PathBuf {
        self.folder.path().join("fedecks.provision")
    }

    /// As after a start.
    fn provisioner(&self) -> Provisioner {
        self.provisioner_of(device())
    }

    fn provisioner_of(&self, device: DeviceId) -> Provisioner {
        let variable = |name: &str| match name {
            "FEDECKS_URL" => Some("wss://cloud.example".into()),
            "FEDECKS_DATA_DIR" => Some(self.data().into()),
            "CREDENTIALS_DIRECTORY" => Some(self.folder.path().into()),
            _ => None,
        };
        let empty = self.folder.path().join("fedecks.toml");
        fs::write(&empty, "").unwrap();
        Provisioner::new(&DeviceConfig::load(Some(&empty), variable).unwrap(), device)
    }

    fn store(&self, token: &str) {
        let token = IssuedToken { token: Token::new(token).unwrap(), expires_at: 1 };
        TokenStore::new(&self.data(), device()).save(&token).unwrap();
    }

    fn has_record(&self) -> bool {
        self.data().join("provisioning").exists()
    }
}

fn device() -> DeviceId {
    DeviceId::new("kitchen-1").unwrap()
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

const GOOD: &str = "password = \"hunter2\"\n";

fn claim(provisioner: &mut Provisioner) -> Option<(SourceKind, Claim)> {
    match provisioner.look(false) {
        Look::LogIn(claim, _) => Some((claim.source.kind, claim)),
        Look::Nothing => None,
        Look::NoRecord(error) => panic!("{error}"),
    }
}

fn told(provisioner: &Provisioner) -> Vec<(SourceState, bool)> {
    let report = provisioner.watch();
    let report = report.borrow();
    report.sources.iter().map(|source| (source.state, source.is_there)).collect()
}

#[test]
fn power_that_goes_before_the_login_has_an_answer_lets_it_be_tried_again() {
    let device = Device::new();
    write(&device.file(), GOOD);
    let mut provisioner = device.provisioner();
    let (_, claimed) = claim(&mut provisioner).unwrap();
    provisioner.begin(&claimed);
    assert!(device.has_record());
    let mut provisioner = device.provisioner();
    let (kind, claimed) = claim(&mut provisioner).unwrap();
    assert_eq!(kind, SourceKind::File);
    provisioner.begin(&claimed);
    provisioner.used(&claimed);
    assert!(!device.file().exists() && !device.has_record());
    assert_eq!(told(&provisioner), [(SourceState::Used, false), (SourceState::Absent, false)]);
}

#[test]
fn power_that_goes_after_the_token_is_on_disk_leaves_credentials_that_are_used() {
    for before in [None, Some("the-old-token")] {
        for credential in [false, true] {
            let device = Device::new();
            let place = if credential { device.credential() } else { device.file() };
            write(&place, GOOD);
            if let Some(before) = before {
                device.store(before);
            }
            let mut provisioner = device.provisioner();
            let (_, claimed) = claim(&mut provisioner).unwrap();
            provisioner.begin(&claimed);

            // Not yet.
            let mut provisioner = device.provisioner();
            assert!(claim(&mut provisioner).is_some(), "{before:?}");
            device.store("the-new-token");
            let mut provisioner = device.provisioner();
            assert!(claim(&mut provisioner).is_none(), "{before:?}");
            assert_eq!(place.exists(), credential);
            assert_eq!(device.has_record(), credential);
            // Nor ever after, also without that token.
            fs::remove_file(device.data().join("token")).unwrap();
            assert!(claim(&mut device.provisioner()).is_none(), "{before:?}");
        }
    }
}

#[test]
fn a_token_that_came_by_no_login_does_not_use_up_what_was_refused_for_the_time_being() {
    let device = Device::new();
    write(&device.file(), GOOD);
    device.store("the-old-token");
    let mut provisioner = device.provisioner();
    let (_, claimed) = claim(&mut provisioner).unwrap();
    provisioner.begin(&claimed);
    provisioner.nothing_came(&claimed);
    provisioner.put_off(&claimed, "blocked");
    assert!(claim(&mut provisioner).is_none());
    // The cloud has replaced it while the device went on with it.
    device.store("the-old-token-made-new");
    assert!(claim(&mut device.provisioner()).is_some());
    assert!(device.file().exists());
}

#[test]
fn what_one_device_has_used_another_one_on_a_copy_of_its_data_uses_as_well() {
    let device = Device::new();
    write(&device.credential(), GOOD);
    let mut provisioner = device.provisioner();
    let (_, claimed) = claim(&mut provisioner).unwrap();
    provisioner.begin(&claimed);
    device.store("the-token");
    provisioner.used(&claimed);
    assert!(claim(&mut device.provisioner()).is_none());
    let another = DeviceId::new("kitchen-2").unwrap();
    assert!(claim(&mut device.provisioner_of(another)).is_some());
}

#[test]
fn a_removal_that_the_power_took_back_is_made_again_or_costs_one_login() {
    let device = Device::new();
    write(&device.file(), GOOD);
    let mut provisioner = device.provisioner();
    let (_, claimed) = claim(&mut provisioner).unwrap();
    provisioner.begin(&claimed);
    let record = fs::read(device.data().join("provisioning")).unwrap();
    device.store("the-new-token");
    provisioner.used(&claimed);
    // Neither the name's removal nor the record's had reached the disk.
    write(&device.file(), GOOD);
    fs::write(device.data().join("provisioning"), record).unwrap();
    assert!(claim(&mut device.provisioner()).is_none());
    assert!(!device.file().exists());
}

#[test]
fn what_takes_the_files_place_during_the_login_is_neither_removed_nor_set_aside() {
    for rejected in [false, true] {
        let device = Device::new();
        write(&device.file(), GOOD);
        let mut provisioner = device.provisioner();
        let (_, claimed) = claim(&mut provisioner).unwrap();
        provisioner.begin(&claimed);
        fs::remove_file(device.file()).unwrap();
        write(&device.file(), "password = \"another\"\n");
        if rejected {
            provisioner.rejected(&claimed, "not known");
        } else {
            provisioner.used(&claimed);
        }
        assert_eq!(fs::read_to_string(device.file()).unwrap(), "password = \"another\"\n");
        assert!(claim(&mut provisioner).is_some());
    }
}

#[test]
fn a_file_that_somebody_takes_away_is_as_if_it_had_never_been_there() {
    let device = Device::new();
    write(&device.file(), GOOD);
    let mut provisioner = device.provisioner();
    let (_, claimed) = claim(&mut provisioner).unwrap();
    provisioner.put_off(&claimed, "a logout");
    assert!(claim(&mut provisioner).is_none());
    assert_eq!(told(&provisioner)[0], (SourceState::PutOff, true));
    fs::remove_file(device.file()).unwrap();
    assert!(claim(&mut provisioner).is_none());
    assert_eq!(told(&provisioner)[0], (SourceState::Absent, false));
    write(&device.file(), GOOD);
    assert!(claim(&mut provisioner).is_some());
}

#[test]
fn a_file_that_is_set_aside_takes_the_place_of_the_one_before() {
    let device = Device::new();
    for (content, reason) in [(GOOD, "first"), ("password = \"another\"\n", "second")] {
        write(&device.file(), content);
        let mut provisioner = device.provisioner();
        let (_, claimed) = claim(&mut provisioner).unwrap();
        provisioner.rejected(&claimed, reason);
        assert_eq!(told(&provisioner)[0], (SourceState::Rejected, false));
        let read = |suffix: &str| {
            fs::read_to_string(device.data().join(format!("provision.toml{suffix}"))).unwrap()
        };
        assert_eq!(read(".rejected"), content);
        assert!(read(".rejected.txt").starts_with(&format!("Not accepted: {reason}.")));
        assert!(!device.has_record());
    }
}

#[test]
fn what_is_unusable_is_told_of_and_the_next_source_is_used() {
    let device = Device::new();
    write(&device.file(), "password = hunter2\n");
    write(&device.credential(), GOOD);
    let mut provisioner = device.provisioner();
    let (kind, claimed) = claim(&mut provisioner).unwrap();
    assert_eq!(kind, SourceKind::Credential);
    provisioner.used(&claimed);
    assert_eq!(told(&provisioner), [(SourceState::Unusable, true), (SourceState::Used, true)]);
    let report = provisioner.watch().borrow().clone();
    let reason = report.sources[0].reason.clone().unwrap();
    assert!(reason.starts_with("line 1: not TOML") && !reason.contains("hunter2"), "{reason}");
}

#[test]
fn without_a_record_credentials_wait_until_they_are_used_anyhow() {
    let device = Device::new();
    write(&device.credential(), GOOD);
    let mut provisioner = device.provisioner();
    fs::remove_dir(device.data()).unwrap();
    assert!(matches!(provisioner.look(false), Look::NoRecord(StoreError::NoDirectory { .. })));
    assert!(matches!(provisioner.look(true), Look::LogIn(..)));
    fs::remove_file(device.credential()).unwrap();
    assert!(matches!(provisioner.look(false), Look::Nothing));
}
