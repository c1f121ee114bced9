//! Notices a data directory in memory: whatever is stored there is lost with each boot.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::{major, minor};
use nix::sys::statfs::statfs;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::blocking::blocking;
use crate::mounts::Mounts;

/// The magic numbers of tmpfs and ramfs.
pub(crate) const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

const OVERLAY: u32 = 0x794c_7630;

/// One mount often changes the mount table several times.
const SETTLE: Duration = Duration::from_millis(500);

/// Says so in the log and to `found` when the directory is in memory, and when that has changed.
pub(crate) async fn watch(directory: PathBuf, found: watch::Sender<Option<String>>) {
    let mounts = Mounts::watch();
    loop {
        let place = directory.clone();
        let now = blocking(move || problem(&place)).await;
        if *found.borrow() != now {
            match &now {
                Some(problem) => warn!("{problem}"),
                None => info!("the data directory is not in memory any more"),
            }
            let _ = found.send(now);
        }
        mounts.changed().await;
        sleep(SETTLE).await;
    }
}

/// What is wrong with a data directory in memory, also with one that does not exist yet. Blocks on the disk.
pub(crate) fn problem(directory: &Path) -> Option<String> {
    let existing = directory.ancestors().find(|it| it.exists())?;
    is_in_memory(existing).then(|| {
        format!(
            "the data directory {} is in memory, so the token is lost with each boot: set data_dir to a directory on a \
             partition that lasts",
            directory.display()
        )
    })
}

fn is_in_memory(place: &Path) -> bool {
    match file_system(place) {
        Some(OVERLAY) => {
            let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
            let device = fs::metadata(place).map(|found| found.dev());
            let upper = device.ok().and_then(|device| upper_directory(&mounts, device));
            upper.and_then(|upper| file_system(&upper)).is_some_and(|it| IN_MEMORY.contains(&it))
        }
        Some(other) => IN_MEMORY.contains(&other),
        None => false,
    }
}

/// The magic number of a file system.
fn file_system(place: &Path) -> Option<u32> {
    // The field's type differs between platforms, the number does not.
    statfs(place).ok().map(|found| found.filesystem_type().0 as u32)
}

/// Where an overlay on this device number keeps what is written, from the lines of /proc/self/mountinfo.
fn upper_directory(mounts: &[u8], device: u64) -> Option<PathBuf> {
    let number = format!("{}:{}", major(device), minor(device));
    let line = mounts.split(|byte| *byte == b'\n').find(|line| {
        line.split(|byte| *byte == b' ').nth(2).is_some_and(|it| it == number.as_bytes())
    })?;
    let options = line.rsplit(|byte| *byte == b' ').next()?;
    let upper = options.split(|byte| *byte == b',').find_map(|it| it.strip_prefix(b"upperdir="))?;
    Some(PathBuf::from(OsStr::from_bytes(&unescaped(upper))))
}

/// Spaces, tabs, line breaks and backslashes are in octal there.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match byte {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::makedev;

    use super::*;

    #[test]
    fn a_directory_in_memory_is_noticed_before_it_exists() {
        // Every Linux system has one.
        let found = problem(Path::new("/dev/shm/fedecks-volatile/data")).unwrap();
        assert!(
            found.starts_with("the data directory /dev/shm/fedecks-volatile/data is in memory"),
            "{found}"
        );
        assert_eq!(problem(Path::new("/proc/fedecks")), None);
    }

    #[test]
    fn the_upper_directory_of_an_overlay_is_found() {
        let mounts = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            36 22 0:41 / /var/lib rw,relatime shared:3 - overlay overlay rw,lowerdir=/var/lib,upperdir=/run/up\\040per,workdir=/run/work\n";
        let upper = upper_directory(mounts, makedev(0, 41));
        assert_eq!(upper, Some(PathBuf::from("/run/up per")));
        assert_eq!(upper_directory(mounts, makedev(8, 1)), None);
        assert_eq!(upper_directory(b"", 1), None);
        assert_eq!(unescaped(b"a\\04"), b"a\\04");
    }
}
