//! The choice among the sources, and the saved identity.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use tempfile::{TempDir, tempdir};

use super::identity_file::parse;
use super::*;

fn found(id: &str, part: Option<&str>) -> Found {
    Found { id: DeviceId::new(id).unwrap(), part: part.map(str::to_owned) }
}

fn derived(source: IdSource, id: &str) -> Derived {
    Derived { source, found: found(id, None) }
}

/// Each source has its name as the id, except these, which have none.
fn all_except(silent: &[IdSource]) -> impl Fn(IdSource, Option<&str>) -> Result<Found, String> {
    |source, _| match silent.contains(&source) {
        true => Err("is unset".into()),
        false => Ok(found(source.name(), None)),
    }
}

use IdSource::{Hostname, Mac, MachineId, SerialNumber};

#[test]
fn the_sources_are_tried_in_order() {
    for (silent, expected) in [
        (&[][..], Some(SerialNumber)),
        (&[SerialNumber], Some(MachineId)),
        (&[SerialNumber, MachineId], Some(Mac)),
        // The host name of an image is the same on all boards.
        (&[SerialNumber, MachineId, Mac], None),
    ] {
        let chosen = choose(None, None, all_except(silent)).ok().map(|derived| derived.source);
        assert_eq!(chosen, expected, "{silent:?}");
    }
    let error = choose(None, None, all_except(&IdSource::ALL)).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot determine the device id (serial-number: is unset; machine-id: is unset; mac: is unset); set \
         device_id, or device_id_from = \"hostname\" if each board has its own host name"
    );
}

#[test]
fn only_the_pinned_source_is_read() {
    for pinned in IdSource::ALL {
        let asked = RefCell::new(Vec::new());
        let chosen = choose(None, Some(pinned), |source, _| {
            asked.borrow_mut().push(source);
            Ok(found("a", None))
        });
        assert_eq!(chosen.unwrap(), derived(pinned, "a"));
        assert_eq!(asked.into_inner(), [pinned]);
        assert!(choose(None, Some(pinned), all_except(&[pinned])).is_err());
        // The saved id of another source is ignored.
        let other = derived(if pinned == Mac { MachineId } else { Mac }, "other");
        let chosen = choose(Some(&other), Some(pinned), all_except(&[])).unwrap();
        assert_eq!(chosen, derived(pinned, pinned.name()));
    }
}

#[test]
fn a_source_available_later_never_replaces_the_saved_one() {
    let saved = derived(Mac, "b827eb000001");
    let silent_now = choose(Some(&saved), None, all_except(&[Mac])).unwrap();
    assert_eq!(silent_now, saved);
}

#[test]
fn hardware_is_read_again_and_other_sources_keep_their_first_id() {
    for (source, expected) in
        [(SerialNumber, "now"), (Mac, "now"), (MachineId, "first"), (Hostname, "first")]
    {
        let saved = derived(source, "first");
        let chosen = choose(Some(&saved), None, |_, _| Ok(found("now", None))).unwrap();
        assert_eq!(chosen, derived(source, expected));
    }
}

#[test]
fn the_saved_part_is_read_again() {
    let saved = Derived { source: Mac, found: found("a", Some("/sys/devices/x")) };
    let chosen = choose(Some(&saved), None, |_, part| Ok(found("b", part))).unwrap();
    assert_eq!(chosen.found, found("b", Some("/sys/devices/x")));
}

/// A system with a data directory, which does not exist at first.
struct System {
    folder: TempDir,
}

impl System {
    fn new() -> Self {
        Self { folder: tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn find(
        &self,
        hostname: &str,
        pinned: Option<IdSource>,
        data: &str,
    ) -> (DeviceIdentity, Option<Unsaved>) {
        let paths = SystemPaths::in_folder(self.folder.path(), hostname);
        find(&paths, pinned, &IdentityFile::new(self.path(data))).unwrap()
    }
}

#[test]
fn the_derived_id_is_saved_across_starts() {
    let system = System::new();
    fs::create_dir(system.path("data")).unwrap();
    let find = |pinned| system.find("dhcp-17", pinned, "data").0;
    let (first, unsaved) = system.find("kitchen", Some(Hostname), "data");
    assert_eq!((first.id.as_str(), first.source), ("kitchen", Some(Hostname)));
    assert!(unsaved.is_none());
    let text = fs::read_to_string(system.path("data/identity")).unwrap();
    assert!(text.starts_with("fedecks identity 1\nsource hostname\nid kitchen\ncrc32 "), "{text}");
    // The serial number becomes readable, and the network gives the host another name.
    fs::write(system.path("serial-number"), "SN-0042\0").unwrap();
    assert_eq!(find(None), first);
    // A new image pins another source.
    let pinned = find(Some(SerialNumber));
    assert_eq!((pinned.id.as_str(), pinned.source), ("SN-0042", Some(SerialNumber)));
    assert_eq!(find(None), pinned);
    // It cannot be read any more.
    fs::remove_file(system.path("serial-number")).unwrap();
    assert_eq!(find(None), pinned);
    // The data on another board.
    fs::write(system.path("serial-number"), "SN-0043\0").unwrap();
    assert_eq!(find(None).id.as_str(), "SN-0043");
}

#[test]
fn the_id_is_saved_once_the_data_directory_exists() {
    let system = System::new();
    let (first, unsaved) = system.find("kitchen", Some(Hostname), "disk/data");
    let unsaved = unsaved.unwrap();
    assert!(matches!(unsaved.save(), Err(StoreError::NoDirectory { .. })));
    fs::create_dir_all(system.path("disk/data")).unwrap();
    // A partition that comes late at each boot is not written to at each boot.
    for _ in 0..2 {
        assert_eq!(unsaved.save().unwrap(), Saved::Yes);
    }
    assert_eq!(fs::read_dir(system.path("disk/data")).unwrap().count(), 1);
    let (again, unsaved) = system.find("cellar", None, "disk/data");
    assert_eq!(again, first);
    assert!(unsaved.is_none());
}

#[test]
fn the_id_of_another_device_is_not_overwritten() {
    let system = System::new();
    fs::create_dir(system.path("away")).unwrap();
    system.find("cellar", Some(Hostname), "away");
    let (_, unsaved) = system.find("kitchen", Some(Hostname), "disk/data");
    fs::create_dir(system.path("disk")).unwrap();
    fs::rename(system.path("away"), system.path("disk/data")).unwrap();
    let cellar = DeviceId::new("cellar").unwrap();
    assert_eq!(unsaved.unwrap().save().unwrap(), Saved::Conflict(cellar));
}

#[test]
fn only_a_complete_identity_file_is_valid() {
    assert_eq!(parse("source mac\nid a\npart b c\n").unwrap().found, found("a", Some("b c")));
    for bad in [
        "",
        "source mac\n",
        "source nose\nid a\n",
        "source mac\nid a b\n",
        "id a\nsource mac\n",
        "source mac\nid a\nmore\n",
        "source mac\nid a\npart b\nmore\n",
    ] {
        assert_eq!(parse(bad), None, "{bad:?}");
    }
}
