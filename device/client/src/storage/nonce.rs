//! The registration nonce on disk.

use std::sync::{Arc, Mutex, PoisonError};

use fedecks_device_core::Nonce;
use fedecks_protocol::DeviceId;

use super::atomic_file::AtomicFile;
use super::data_dir::DataDir;
use super::store_error::StoreError;

/// The registration nonce of a device, in the [`AtomicFile`] `registration-nonce`, and the one in memory that is
/// written if there is none. What it returns blocks on the disk; the calls themselves do not.
pub(crate) struct NonceFile {
    file: AtomicFile,
    device_id: DeviceId,
    in_memory: Nonce,
    /// How often it was to be forgotten.
    forgotten: u64,
    /// How often of that on disk, by which one job at a time has its turn.
    on_disk: Arc<Mutex<u64>>,
}

impl NonceFile {
    /// The file of this device in `directory`, which may not exist yet.
    pub(crate) fn new(directory: impl Into<DataDir>, device_id: DeviceId) -> Self {
        Self {
            file: AtomicFile::new(directory, "registration-nonce"),
            device_id,
            in_memory: random(),
            forgotten: 0,
            on_disk: Arc::default(),
        }
    }

    /// What to use if the disk does not work, and to write if there is none on it.
    pub(crate) fn in_memory(&self) -> Nonce {
        self.in_memory
    }

    /// Reads the nonce, or writes a new one.
    pub(crate) fn loading(&self) -> impl FnOnce() -> Result<Nonce, StoreError> + Send + 'static {
        let (file, device_id, new) = (self.file.clone(), self.device_id.clone(), self.in_memory);
        self.in_turn(move |is_latest| {
            if let Some((device, nonce)) = file.read_if_any(parse)? {
                if device == device_id {
                    return Ok(nonce);
                }
                tracing::warn!(of = %device, "replaced the registration nonce of another device");
            }
            // A logout came first, and this login is over.
            if is_latest {
                file.write(&format!("device {device_id}\nnonce {new}\n"))?;
            }
            Ok(new)
        })
    }

    /// From now on there is a new one. The old one is not returned any more, even before it is removed.
    pub(crate) fn forget(&mut self) {
        self.forgotten += 1;
        self.in_memory = random();
    }

    /// Removes what is to be forgotten.
    pub(crate) fn forgetting(&self) -> impl FnOnce() -> Result<(), StoreError> + Send + 'static {
        self.in_turn(|_| Ok(()))
    }

    /// Does `job` after what was to be forgotten is removed. It gets whether nothing newer was removed.
    fn in_turn<T>(
        &self,
        job: impl FnOnce(bool) -> Result<T, StoreError> + Send + 'static,
    ) -> impl FnOnce() -> Result<T, StoreError> + Send + 'static {
        let (file, forgotten) = (self.file.clone(), self.forgotten);
        let on_disk = Arc::clone(&self.on_disk);
        move || {
            let mut on_disk = on_disk.lock().unwrap_or_else(PoisonError::into_inner);
            if *on_disk < forgotten {
                file.remove_if_any()?;
                *on_disk = forgotten;
            }
            job(*on_disk == forgotten)
        }
    }
}

fn random() -> Nonce {
    Nonce::new(rand::random())
}

fn parse(body: &str) -> Option<(DeviceId, Nonce)> {
    let mut lines = body.lines();
    let device = DeviceId::new(lines.next()?.strip_prefix("device ")?).ok()?;
    let nonce = Nonce::parse(lines.next()?.strip_prefix("nonce ")?)?;
    lines.next().is_none().then_some((device, nonce))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use tempfile::tempdir;

    use super::*;

    fn at(directory: &Path, device: &str) -> NonceFile {
        NonceFile::new(directory, DeviceId::new(device).unwrap())
    }

    fn load(file: &NonceFile) -> Nonce {
        file.loading()().unwrap()
    }

    #[test]
    fn a_nonce_is_the_same_after_each_start_until_it_is_forgotten() {
        let folder = tempdir().unwrap();
        // The first write creates it.
        let directory = folder.path().join("data");
        let mut file = at(&directory, "kitchen-1");
        let first = load(&file);
        assert_eq!([load(&file), load(&at(&directory, "kitchen-1"))], [first; 2]);
        let text = fs::read_to_string(directory.join("registration-nonce")).unwrap();
        let expected = format!("fedecks registration-nonce 1\ndevice kitchen-1\nnonce {first}\n");
        assert!(text.starts_with(&expected), "{text}");
        file.forget();
        file.forgetting()().unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        let second = load(&file);
        assert_ne!(first, second);
        // A damaged one counts as absent.
        fs::write(directory.join("registration-nonce"), &text[1..]).unwrap();
        let third = load(&at(&directory, "kitchen-1"));
        assert!(third != first && third != second);
        assert_eq!(load(&at(&directory, "kitchen-1")), third);
        // It is not that of another device, with a copy of the directory.
        let other = load(&at(&directory, "kitchen-2"));
        assert_ne!(other, third);
    }

    #[test]
    fn a_nonce_that_was_forgotten_never_comes_back() {
        let folder = tempdir().unwrap();
        let mut file = at(folder.path(), "kitchen-1");
        let first = load(&file);
        // Jobs of a thread pool may run in another order.
        let late = file.loading();
        file.forget();
        let (forgetting, loading) = (file.forgetting(), file.loading());
        let second = loading().unwrap();
        assert_ne!(first, second);
        forgetting().unwrap();
        late().unwrap();
        assert_eq!(load(&at(folder.path(), "kitchen-1")), second);
        // A failure to remove it is not forgotten.
        file.forget();
        fs::remove_file(folder.path().join("registration-nonce")).unwrap();
        fs::create_dir(folder.path().join("registration-nonce")).unwrap();
        assert!(file.forgetting()().is_err() && file.loading()().is_err());
        fs::remove_dir(folder.path().join("registration-nonce")).unwrap();
        assert_eq!(load(&file), file.in_memory());
        // Without a directory there is nothing to forget.
        let mut nowhere = at(&folder.path().join("data"), "kitchen-1");
        nowhere.forget();
        assert_eq!(load(&nowhere), nowhere.in_memory());
    }

    const WRITE_IN: &str = "FEDECKS_TEST_WRITE_NONCES_IN";
    const WRITER: &str = "storage::nonce::tests::child_process_that_makes_nonces_until_killed";

    /// Not a test by itself: the next one starts and kills it.
    #[test]
    fn child_process_that_makes_nonces_until_killed() {
        let Some(directory) = std::env::var_os(WRITE_IN) else { return };
        for number in 0.. {
            let nonce = load(&at(&Path::new(&directory).join(number.to_string()), "kitchen-1"));
            println!("\nsent {number} {nonce}");
        }
    }

    #[test]
    fn a_killed_process_leaves_every_nonce_that_it_has_sent() {
        let mut interrupted = 0;
        for round in 0..40_u64 {
            let folder = tempdir().unwrap();
            let mut writer = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture", WRITER])
                .env(WRITE_IN, folder.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
            let sent = |line: std::io::Result<String>| {
                line.unwrap().strip_prefix("sent ").and_then(|line| {
                    let (number, nonce) = line.split_once(' ')?;
                    Some((number.to_owned(), Nonce::parse(nonce)?))
                })
            };
            let first = lines.by_ref().find_map(sent).unwrap();
            // Varies the moment in steps that are unrelated to the duration of a write.
            std::thread::park_timeout(Duration::from_micros(round * 37 % 4_000));
            writer.kill().unwrap();
            writer.wait().unwrap();
            let all = std::iter::once(first).chain(lines.filter_map(sent));
            let mut count = 0;
            for (number, nonce) in all {
                let directory = folder.path().join(&number);
                assert_eq!(load(&at(&directory, "kitchen-1")), nonce, "round {round}: {number}");
                count += 1;
            }
            interrupted += u32::from(folder.path().join(format!("{count}")).exists());
        }
        assert!(interrupted > 0, "no write was ever interrupted");
    }
}
