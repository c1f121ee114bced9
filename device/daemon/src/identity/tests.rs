//! What is remembered of a device's identity, and what counts against it.

use std::cell::RefCell;
use std::fs;

use tempfile::tempdir;

use super::memory::parse;
use super::*;

fn found(id: &str, part: Option<&str>) -> Found {
    Found { id: DeviceId::new(id).unwrap(), part: part.map(str::to_owned) }
}

fn derived(source: IdSource, id: &str) -> Derived {
    Derived { source, found: found(id, None) }
}

/// Every source says its own name, but for these.
fn all_but(silent: &[IdSource]) -> impl Fn(IdSource, Option<&str>) -> Result<Found, String> {
    |source, _| match silent.contains(&source) {
        true => Err("is silent".into()),
        false => Ok(found(source.name(), None)),
    }
}

use IdSource::{Hostname, Mac, MachineId, SerialNumber};

#[test]
fn the_sources_are_asked_in_their_order() {
    for (silent, expected) in [
        (&[][..], Some(SerialNumber)),
        (&[SerialNumber], Some(MachineId)),
        (&[SerialNumber, MachineId], Some(Mac)),
        (&[SerialNumber, MachineId, Mac], Some(Hostname)),
        (&[SerialNumber, MachineId, Mac, Hostname], None),
    ] {
        let chosen = choose(None, None, all_but(silent)).ok().map(|derived| derived.source);
        assert_eq!(chosen, expected, "{silent:?}");
    }
    let error = choose(None, None, all_but(&IdSource::ORDER)).unwrap_err().to_string();
    assert_eq!(
        error,
        "nothing says who this device is (serial-number: is silent; machine-id: is silent; mac: is \
         silent; hostname: is silent); set device_id"
    );
}

#[test]
fn only_the_pinned_source_is_asked() {
    for pinned in IdSource::ORDER {
        let asked = RefCell::new(Vec::new());
        let chosen = choose(None, Some(pinned), |source, _| {
            asked.borrow_mut().push(source);
            Ok(found("a", None))
        });
        assert_eq!(chosen.unwrap(), derived(pinned, "a"));
        assert_eq!(asked.into_inner(), [pinned]);
        assert!(choose(None, Some(pinned), all_but(&[pinned])).is_err());
        // What another source said once does not count.
        let other = derived(if pinned == Mac { MachineId } else { Mac }, "other");
        let chosen = choose(Some(&other), Some(pinned), all_but(&[])).unwrap();
        assert_eq!(chosen, derived(pinned, pinned.name()));
    }
}

#[test]
fn a_source_that_comes_up_later_never_takes_the_place_of_the_remembered_one() {
    let remembered = derived(Mac, "b827eb000001");
    let silent_now = choose(Some(&remembered), None, all_but(&[Mac])).unwrap();
    assert_eq!(silent_now, remembered);
}

#[test]
fn hardware_is_believed_as_it_is_now_and_everything_else_as_it_was_first() {
    for (source, expected) in
        [(SerialNumber, "now"), (Mac, "now"), (MachineId, "first"), (Hostname, "first")]
    {
        let remembered = derived(source, "first");
        let chosen = choose(Some(&remembered), None, |_, _| Ok(found("now", None))).unwrap();
        assert_eq!(chosen, derived(source, expected));
    }
}

#[test]
fn the_part_that_is_remembered_is_asked_for() {
    let remembered = Derived { source: Mac, found: found("a", Some("/sys/devices/x")) };
    let chosen = choose(Some(&remembered), None, |_, part| Ok(found("b", part))).unwrap();
    assert_eq!(chosen.found, found("b", Some("/sys/devices/x")));
}

#[test]
fn what_was_derived_is_remembered_across_starts() {
    let (folder, system) = (tempdir().unwrap(), tempdir().unwrap());
    let memory = Memory::new(folder.path());
    let roots = Roots::in_folder(system.path(), "kitchen");
    let (first, unsaved) = find(&roots, None, &memory).unwrap();
    assert_eq!((first.id.as_str(), first.source), ("kitchen", Some(Hostname)));
    assert!(unsaved.is_none());
    assert!(
        fs::read_to_string(folder.path().join("identity"))
            .unwrap()
            .starts_with("fedecks identity 1\nsource hostname\nid kitchen\ncrc32 ")
    );
    // The serial number comes up, and the network gives the host another name.
    fs::write(system.path().join("serial-number"), "SN-0042\0").unwrap();
    let renamed = Roots::in_folder(system.path(), "dhcp-17");
    assert_eq!(find(&renamed, None, &memory).unwrap().0, first);
    // Whoever builds the image says otherwise.
    let (pinned, _) = find(&renamed, Some(SerialNumber), &memory).unwrap();
    assert_eq!((pinned.id.as_str(), pinned.source), ("SN-0042", Some(SerialNumber)));
    assert_eq!(find(&renamed, None, &memory).unwrap().0, pinned);
    // Unreadable now.
    fs::remove_file(system.path().join("serial-number")).unwrap();
    assert_eq!(find(&renamed, None, &memory).unwrap().0, pinned);
    // The data on another board.
    fs::write(system.path().join("serial-number"), "SN-0043\0").unwrap();
    assert_eq!(find(&renamed, None, &memory).unwrap().0.id.as_str(), "SN-0043");
}

#[test]
fn without_the_data_directory_it_is_remembered_once_that_is_there() {
    let (folder, system) = (tempdir().unwrap(), tempdir().unwrap());
    let data = folder.path().join("disk/data");
    let memory = Memory::new(&data);
    let roots = Roots::in_folder(system.path(), "kitchen");
    let (first, unsaved) = find(&roots, None, &memory).unwrap();
    let unsaved = unsaved.unwrap();
    assert!(matches!(unsaved.save(), Err(StoreError::NoDirectory { .. })));
    fs::create_dir_all(&data).unwrap();
    assert_eq!(unsaved.save().unwrap(), Kept::Yes);
    // A partition that comes late at each boot is not written to at each boot.
    assert_eq!(unsaved.save().unwrap(), Kept::Yes);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
    let (again, unsaved) = find(&Roots::in_folder(system.path(), "cellar"), None, &memory).unwrap();
    assert_eq!(again, first);
    assert!(unsaved.is_none());
}

#[test]
fn another_identity_that_was_out_of_sight_is_not_written_over() {
    let (folder, system) = (tempdir().unwrap(), tempdir().unwrap());
    let (away, here) = (folder.path().join("away"), folder.path().join("here"));
    fs::create_dir(&away).unwrap();
    find(&Roots::in_folder(system.path(), "cellar"), None, &Memory::new(&away)).unwrap();
    let kitchen = Roots::in_folder(system.path(), "kitchen");
    let (_, unsaved) = find(&kitchen, None, &Memory::new(&here.join("data"))).unwrap();
    fs::create_dir(&here).unwrap();
    fs::rename(&away, here.join("data")).unwrap();
    let cellar = DeviceId::new("cellar").unwrap();
    assert_eq!(unsaved.unwrap().save().unwrap(), Kept::Another(cellar));
}

#[test]
fn only_a_whole_memory_is_understood() {
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
