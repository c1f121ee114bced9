//! The id of this server among those of a database. It is kept in the data directory until the machine restarts, so that a
//! server that was killed takes its own lease over, without waiting for its end.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use fedecks_common::{LockFile, NotLocked};
use nix::time::{ClockId, clock_gettime};

use crate::error::ServerError;

/// The id, for as long as this is not dropped: no other process uses the same data directory meanwhile.
pub(crate) struct OwnNode {
    pub(crate) id: u64,
    _lock: Option<LockFile>,
}

/// How long another server may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest length of the file, in bytes.
const MAX_LEN: u64 = 1024;

/// How much the start of the machine may differ, as the clock of the machine shows it.
const CLOCK_STEP: Duration = Duration::from_secs(1);

impl OwnNode {
    /// Reads the id, or makes one. Waits a few seconds for another server to end, and fails if it does not. Blocks.
    pub(crate) fn take(data_dir: &Path) -> Result<Self, ServerError> {
        let lock = LockFile::new(data_dir.join("node.lock"));
        let waiting =
            || tracing::info!(lock = %lock.path().display(), "waiting for another server to end");
        match lock.take_within(PATIENCE, waiting) {
            Ok(()) => {}
            Err(NotLocked::InUse) => {
                return Err(ServerError::DataDirInUse(lock.path().to_owned()));
            }
            // Then no other server has the id either.
            Err(NotLocked::Failed(error)) => {
                return Ok(Self { id: without_file(data_dir, &error), _lock: None });
            }
        }
        let file = data_dir.join("node");
        let id = read(&file).or_else(|_| write(&file));
        let id = id.unwrap_or_else(|error| without_file(data_dir, &error));
        Ok(Self { id, _lock: Some(lock) })
    }
}

/// An id for this process only.
fn without_file(data_dir: &Path, error: &io::Error) -> u64 {
    let data_dir = data_dir.display();
    tracing::warn!(%data_dir, %error, "cannot keep the id of this server: after a crash it will have to wait for its own lease");
    rand::random()
}

/// Where an id is kept. A copy of the directory, on this machine or another one, is not the same server, and neither is
/// one after a restart of the machine: a copy of its disk may have started.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// The start of the machine, since 1970. A clock that is set moves it.
    started: Duration,
    /// The number of the file, and the name of the machine.
    name: String,
}

impl Place {
    /// The place of this file, now.
    fn of(file: &Metadata) -> io::Result<Self> {
        let time = |clock| clock_gettime(clock).map(Duration::from).map_err(io::Error::from);
        let (now, up) = (time(ClockId::CLOCK_REALTIME)?, time(ClockId::CLOCK_BOOTTIME)?);
        let machine = nix::unistd::gethostname().map_err(io::Error::from)?;
        let name = format!("{:x}-{:x} {}", file.dev(), file.ino(), machine.to_string_lossy());
        Ok(Self { started: now.saturating_sub(up), name })
    }

    /// Whether a server there is the same as one at the other place.
    fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.started.abs_diff(other.started) <= CLOCK_STEP
    }
}

/// The line of the file.
fn line(id: u64, place: &Place) -> String {
    format!("{id:016x} {} {}\n", place.started.as_millis(), place.name)
}

fn parse(text: &str) -> Option<(u64, Place)> {
    let (id, rest) = text.strip_suffix('\n')?.split_once(' ')?;
    let (started, name) = rest.split_once(' ')?;
    let started = Duration::from_millis(started.parse().ok()?);
    Some((u64::from_str_radix(id, 16).ok()?, Place { started, name: name.to_owned() }))
}

fn read(path: &Path) -> io::Result<u64> {
    let file = File::options().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path)?;
    let place = Place::of(&file.metadata()?)?;
    let mut text = String::new();
    file.take(MAX_LEN).read_to_string(&mut text)?;
    let kept = parse(&text).filter(|(_, kept)| kept.is_same(&place));
    kept.map(|(id, _)| id).ok_or_else(|| io::Error::other("it is of another server"))
}

/// Makes an id, and keeps it.
fn write(path: &Path) -> io::Result<u64> {
    let id = rand::random();
    let unfinished = path.with_extension("new");
    // What is there may be a link.
    let _ = fs::remove_file(&unfinished);
    let file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let place = Place::of(&file.metadata()?)?;
    io::Write::write_all(&mut &file, line(id, &place).as_bytes())?;
    fs::rename(&unfinished, path)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_but_not_in_a_copy() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let first = OwnNode::take(one.path()).unwrap();
        let id = first.id;
        drop(first);
        assert_eq!(OwnNode::take(one.path()).unwrap().id, id);

        fs::copy(one.path().join("node"), other.path().join("node")).unwrap();
        let copy = OwnNode::take(other.path()).unwrap().id;
        assert_ne!(copy, id);
        assert_eq!(OwnNode::take(other.path()).unwrap().id, copy);

        for damaged in ["", "x", "4fa3 1\n", "4fa3 1 cd\n"] {
            fs::write(one.path().join("node"), damaged).unwrap();
            let new = OwnNode::take(one.path()).unwrap().id;
            assert_eq!(OwnNode::take(one.path()).unwrap().id, new, "{damaged}");
        }
    }

    #[test]
    fn an_id_is_not_kept_over_a_restart_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node");
        let id = OwnNode::take(folder.path()).unwrap().id;
        let (_, Place { started, name }) = parse(&fs::read_to_string(&file).unwrap()).unwrap();
        let started_before = |by| {
            let place = Place { started: started - by, name: name.clone() };
            fs::write(&file, line(id, &place)).unwrap();
            OwnNode::take(folder.path()).unwrap().id
        };
        assert_eq!(started_before(Duration::from_millis(100)), id);
        assert_ne!(started_before(Duration::from_secs(10)), id);
    }

    #[test]
    fn a_data_directory_has_one_server() {
        let folder = tempfile::tempdir().unwrap();
        let first = OwnNode::take(folder.path()).unwrap();
        let second = OwnNode::take(folder.path()).err().unwrap().to_string();
        let lock = folder.path().join("node.lock").display().to_string();
        assert!(second.contains(&lock), "{second}");
        drop(first);
        OwnNode::take(folder.path()).unwrap();
    }

    #[test]
    fn without_a_directory_each_start_has_its_own_id() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let [one, other] = [(); 2].map(|()| OwnNode::take(&missing).unwrap());
        assert_ne!(one.id, other.id);
    }
}
