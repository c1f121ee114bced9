//! Reads device ids from the hardware and the system. A value that two boards may share, or that may change
//! with the next boot, is refused.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fedecks_protocol::DeviceId;
use nix::libc;
use nix::sys::statfs::fstatfs;
use ring::hmac;

use super::id_source::IdSource;
use crate::volatile_data::IN_MEMORY;

/// The id that a source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: DeviceId,
    /// The hardware that the id belongs to, if there can be several; without spaces at its ends.
    pub(super) part: Option<String>,
}

/// Where the sources are read from.
#[derive(Debug, Clone)]
pub(crate) struct SystemPaths {
    serial_number: PathBuf,
    machine_id: PathBuf,
    interfaces: PathBuf,
    hostname: Option<String>,
}

/// The application id of sd_id128_get_machine_app_specific(3), random. Another one would give every device
/// another id.
const APPLICATION: [u8; 16] = 0x4d05_a401_4d43_4eff_879f_2eaf_760e_91b0_u128.to_be_bytes();

/// More than any of these files has.
const MAX_SIZE: u64 = 4_096;

impl SystemPaths {
    /// The paths of this system.
    pub(crate) fn system() -> Self {
        let hostname = nix::unistd::gethostname().ok();
        Self {
            // The same as /proc/device-tree, but also there if /proc shows processes only.
            serial_number: "/sys/firmware/devicetree/base/serial-number".into(),
            machine_id: "/etc/machine-id".into(),
            interfaces: "/sys/class/net".into(),
            hostname: hostname.and_then(|name| name.into_string().ok()),
        }
    }

    /// The id of this source, or why it has none that can be used. If there are several such parts: the
    /// id of `part`, or of the same one each time.
    pub(super) fn read(&self, source: IdSource, part: Option<&str>) -> Result<Found, String> {
        let id = match source {
            IdSource::SerialNumber => serial_number(&self.serial_number),
            IdSource::MachineId => machine_id(&self.machine_id),
            IdSource::Mac => return mac(&self.interfaces, part),
            IdSource::Hostname => hostname(self.hostname.as_deref().ok_or("is not UTF-8")?),
        };
        Ok(Found { id: id?, part: None })
    }
}

fn serial_number(file: &Path) -> Result<DeviceId, String> {
    let text = read(file).map_err(|error| error.to_string())?.1;
    let serial = text.trim_matches(|c: char| c == '\0' || c.is_ascii_whitespace());
    let lower = serial.to_ascii_lowercase();
    let first = serial.chars().next();
    // Placeholders of boot loaders and vendors.
    let junk = ["0123456789", "123456789", "1234567890", "default", "none", "serial", "unknown"];
    if serial.len() < 4
        || serial.chars().all(|c| Some(c) == first)
        || junk.contains(&lower.as_str())
        || lower.contains("filled")
    {
        return Err(format!("is {serial:?}, which is a placeholder"));
    }
    DeviceId::new(serial).map_err(|error| error.to_string())
}

fn machine_id(file: &Path) -> Result<DeviceId, String> {
    let (kind, text) = read(file).map_err(|error| error.to_string())?;
    if IN_MEMORY.contains(&kind) {
        return Err("is in memory and changes with the next boot".into());
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let machine = (text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
        .filter(|number| *number != 0)
        .ok_or("is not a machine id; expected 32 hexadecimal digits, not all of them 0")?;
    let id = format!("{:032x}", for_application(machine, APPLICATION));
    DeviceId::new(id).map_err(|error| error.to_string())
}

/// machine-id(5) asks not to expose the machine id; this is systemd's replacement.
fn for_application(machine: u128, application: [u8; 16]) -> u128 {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &machine.to_be_bytes());
    let tag = hmac::sign(&key, &application);
    let hash = tag.as_ref().iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte));
    // The version and variant bits of a random UUID.
    hash & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62
}

fn mac(interfaces: &Path, part: Option<&str>) -> Result<Found, String> {
    let first = fs::read_dir(interfaces)
        .map_err(|error| error.to_string())?
        .filter_map(|entry| permanent_address(&entry.ok()?.path()))
        .filter(|(device, _)| part.is_none_or(|part| part == device))
        // USB adapters come last; then by the device's path, which does not depend on the order in which
        // drivers load. Two interfaces may share a device.
        .map(|(device, address)| (device.contains("/usb"), device, address))
        .min();
    let (_, device, address) = first.ok_or("there is no interface with a permanent address")?;
    let id = DeviceId::new(address).map_err(|error| error.to_string())?;
    Ok(Found { id, part: Some(device) })
}

/// The path of the interface's device, and its permanent address.
fn permanent_address(interface: &Path) -> Option<(String, String)> {
    let value = |name: &str| Some(read(&interface.join(name)).ok()?.1.trim().to_owned());
    // Virtual interfaces have none.
    let device = fs::canonicalize(interface.join("device")).ok()?.into_os_string();
    let device = device.into_string().ok().filter(|path| !path.contains('\n'))?;
    // NET_ADDR_PERM and ARPHRD_ETHER; 1 is a random address, 2 a stolen one, 3 one that was set.
    if value("addr_assign_type")? != "0" || value("type")? != "1" {
        return None;
    }
    let digits = value("address")?.replace(':', "").to_ascii_lowercase();
    let number = u64::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 12)?;
    // Multicast and locally administered addresses are not unique.
    let first = number >> 40;
    (number != 0 && first & 0b11 == 0).then_some((device, digits))
}

/// The default names are the same on all hosts.
fn hostname(name: &str) -> Result<DeviceId, String> {
    if ["localhost", "localhost.localdomain", "(none)"].contains(&name) {
        return Err(format!("is {name:?}, the name of every unnamed host"));
    }
    DeviceId::new(name).map_err(|error| error.to_string())
}

/// The magic number of the file's file system, and its content.
fn read(file: &Path) -> io::Result<(u32, String)> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(file)?;
    // The field's type differs between platforms, the number does not.
    let kind = fstatfs(&file)?.filesystem_type().0 as u32;
    let mut text = String::new();
    file.take(MAX_SIZE).read_to_string(&mut text)?;
    Ok((kind, text))
}

#[cfg(test)]
impl SystemPaths {
    /// The same below `folder`.
    pub(super) fn in_folder(folder: &Path, hostname: &str) -> Self {
        Self {
            serial_number: folder.join("serial-number"),
            machine_id: folder.join("machine-id"),
            interfaces: folder.join("net"),
            hostname: Some(hostname.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::tempdir;

    use super::*;

    fn id(result: Result<DeviceId, String>) -> Option<String> {
        result.ok().map(|id| id.to_string())
    }

    #[test]
    fn a_serial_number_is_trimmed_and_placeholders_are_refused() {
        let folder = tempdir().unwrap();
        let file = folder.path().join("serial-number");
        for text in ["10000000a1b2c3d4\0", "1234-5678-9abc\n\0"] {
            fs::write(&file, text).unwrap();
            let trimmed = text.trim_end_matches(['\0', '\n']);
            assert_eq!(id(serial_number(&file)).as_deref(), Some(trimmed), "{text:?}");
        }
        let zeros_and_ones = ["0000000000000000\0", "ffffffffffffffff\0"];
        let placeholders = ["To be filled by O.E.M.\0", "1234567890\0", "Default\0"];
        let invalid = ["SN-42/7\0", "42\0", "\0", ""];
        for text in [&zeros_and_ones[..], &placeholders, &invalid].concat() {
            fs::write(&file, text).unwrap();
            assert_eq!(id(serial_number(&file)), None, "{text:?}");
        }
        fs::write(&file, b"\xff\xfe\xfd\xfc\0").unwrap();
        assert_eq!(id(serial_number(&file)), None);
        assert_eq!(id(serial_number(&folder.path().join("nothing"))), None);
        assert_eq!(id(serial_number(folder.path())), None);
    }

    #[test]
    fn the_machine_id_is_hashed_like_systemd_does() {
        // systemd-id128 machine-id --app-specific=00000000000000000000000000000001
        let (machine, application) = (0x3d12_19c7_c4c5_404a_aa1f_6d2a_48ad_fda4, 1_u128);
        assert_eq!(
            format!("{:032x}", for_application(machine, application.to_be_bytes())),
            "c92b12aba31e4236a2296560761415ec"
        );
    }

    #[test]
    fn an_unset_or_temporary_machine_id_is_refused() {
        // Next to this program, on a disk; /tmp is often in memory.
        let program = std::env::current_exe().unwrap();
        let folder = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let file = folder.path().join("machine-id");
        let good = "3d1219c7c4c5404aaa1f6d2a48adfda4";
        let (zero, twice) = ("0".repeat(32), good.repeat(2));
        let signed = format!("+{}", &good[1..]);
        for (text, is_good) in [
            (&*format!("{good}\n"), true),
            (good, true),
            ("uninitialized\n", false),
            ("", false),
            (&zero, false),
            (&signed, false),
            (&twice, false),
        ] {
            fs::write(&file, text).unwrap();
            let found = id(machine_id(&file));
            assert_eq!(found.is_some(), is_good, "{text:?}");
            assert!(found.is_none_or(|id| id != good && id.len() == 32), "{text:?}");
        }
        // Like systemd mounts it over a read-only /etc.
        let in_memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let file = in_memory.path().join("machine-id");
        fs::write(&file, good).unwrap();
        assert!(machine_id(&file).unwrap_err().starts_with("is in memory"));
    }

    /// An interface in /sys/class/net.
    fn interface(folder: &Path, name: &str, device: Option<&str>, assigned: &str, address: &str) {
        let interface = folder.join("net").join(name);
        fs::create_dir_all(&interface).unwrap();
        if let Some(device) = device {
            fs::create_dir_all(folder.join(device)).unwrap();
            symlink(folder.join(device), interface.join("device")).unwrap();
        }
        for (file, value) in [("addr_assign_type", assigned), ("type", "1"), ("address", address)] {
            fs::write(interface.join(file), format!("{value}\n")).unwrap();
        }
    }

    #[test]
    fn the_same_built_in_interface_is_used_whatever_its_name() {
        let folder = tempdir().unwrap();
        let root = folder.path();
        let net = root.join("net");
        assert!(mac(&net, None).is_err());
        interface(root, "lo", None, "0", "00:00:00:00:00:00");
        interface(root, "br0", None, "0", "b8:27:eb:00:00:01");
        interface(root, "eth7", Some("made-up"), "1", "b8:27:eb:00:00:02");
        interface(root, "eth8", Some("local"), "0", "02:27:eb:00:00:03");
        interface(root, "eth9", Some("group"), "0", "01:27:eb:00:00:04");
        interface(root, "eth10", Some("zero"), "0", "00:00:00:00:00:00");
        interface(root, "eth11", Some("short"), "0", "b8:27:eb");
        assert!(mac(&net, None).is_err());
        interface(root, "usb0", Some("a/usb1/1-1"), "0", "b8:27:eb:00:00:05");
        assert_eq!(mac(&net, None).unwrap().id.as_str(), "b827eb000005");
        interface(root, "wlan0", Some("z/mmc"), "0", "B8:27:EB:AA:00:06");
        interface(root, "eth0", Some("z/ethernet"), "0", "b8:27:eb:ff:00:07");
        let first = mac(&net, None).unwrap();
        assert_eq!(first.id.as_str(), "b827ebff0007");
        fs::rename(net.join("eth0"), net.join("end0")).unwrap();
        assert_eq!(mac(&net, None).unwrap(), first);
        // A saved interface is not replaced by another one.
        let wlan = mac(&net, fs::canonicalize(root.join("z/mmc")).unwrap().to_str()).unwrap();
        assert_eq!(wlan.id.as_str(), "b827ebaa0006");
        fs::remove_dir_all(net.join("end0")).unwrap();
        assert!(mac(&net, first.part.as_deref()).is_err());
    }

    #[test]
    fn a_default_host_name_is_refused() {
        for name in ["localhost", "localhost.localdomain", "(none)", ""] {
            assert!(hostname(name).is_err(), "{name:?}");
        }
        assert_eq!(hostname("nerves-242a").unwrap().as_str(), "nerves-242a");
    }
}
