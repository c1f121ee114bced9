//! The device's data partition: a small ext4 file system in a file, which is filled, fails and is taken away.
//!
//! It is mounted in the mount namespace that the trials have entered, and so is gone with them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use fedecks_testing::history::{Direction, Message};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::faults::DiskFailure;
use crate::keep::messages_in;

/// The smallest that has a journal, and room for the queue.
const SIZE: u64 = 16 << 20;

/// As docs/device.md recommends. An error makes it read-only, as on most boards.
const OPTIONS: &str = "loop,noatime,lazytime,errors=remount-ro";

/// Has a file system lose its disk: ext4's ioctl for tests, without what it has not written.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys; \
     fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// A mounted partition. Dropping it unmounts it.
pub(crate) struct Partition {
    folder: PathBuf,
    /// Which of the images is mounted.
    image: AtomicU32,
    /// Held while the partition fails, or its content is exchanged.
    pub(crate) gate: Mutex<()>,
}

/// Moves this process, which must not have threads yet, into a separate mount namespace.
pub(crate) fn enter_namespace() -> Result<(), nix::Error> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
}

impl Partition {
    /// An empty one in a new folder.
    pub(crate) async fn create(folder: PathBuf) -> Self {
        let partition = Self { folder, image: AtomicU32::new(0), gate: Mutex::default() };
        let (mount_point, image) = (partition.mount_point(), partition.image());
        fs::create_dir_all(&mount_point).unwrap();
        // What is there while the partition is missing: nothing, and nothing can be written there.
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "ro", "none"]).arg(&mount_point))
            .await;
        File::create(&image).unwrap().set_len(SIZE).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image)).await;
        partition.mount().await;
        fs::create_dir(partition.data()).unwrap();
        partition
    }

    /// The data directory on it.
    pub(crate) fn data(&self) -> PathBuf {
        self.mount_point().join("fedecks")
    }

    fn mount_point(&self) -> PathBuf {
        self.folder.join("mounted")
    }

    fn image(&self) -> PathBuf {
        self.folder.join(format!("image-{}", self.image.load(Relaxed)))
    }

    fn filler(&self) -> PathBuf {
        self.mount_point().join("filler")
    }

    async fn mount(&self) {
        run(Command::new("mount").args(["-o", OPTIONS]).arg(self.image()).arg(self.mount_point()))
            .await;
    }

    /// Has it fail.
    pub(crate) async fn fail(&self, failure: DiskFailure) {
        match failure {
            DiskFailure::Full => {
                let mut filler = File::create(self.filler()).unwrap();
                for chunk in [1 << 16, 1 << 10, 1] {
                    while filler.write_all(&vec![0; chunk]).is_ok() {}
                }
            }
            DiskFailure::ReadOnly => {
                let device = self.device();
                fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "trial").unwrap();
            }
            DiskFailure::Lost => {
                run(Command::new("python3").args(["-c", SHUT_DOWN]).arg(self.mount_point())).await;
                self.take_out().await;
            }
        }
    }

    /// Has it work again.
    pub(crate) async fn repair(&self, failure: DiskFailure) {
        match failure {
            DiskFailure::Full => {
                fs::remove_file(self.filler()).unwrap();
                self.sync().await;
            }
            DiskFailure::ReadOnly => {
                self.take_out().await;
                self.mount().await;
            }
            DiskFailure::Lost => self.mount().await,
        }
    }

    /// Unmounts it, while files on it may be open. What was on the disk is in another image then: the kernel may use this
    /// one until these files are closed.
    async fn take_out(&self) {
        let before = self.image();
        self.image.fetch_add(1, Relaxed);
        run(Command::new("cp").arg("--sparse=always").arg(&before).arg(self.image())).await;
        umount2(&self.mount_point(), MntFlags::MNT_DETACH).unwrap();
        fs::remove_file(before).unwrap();
    }

    /// Has the disk take what was copied to it or removed, so that the next failure does not undo that.
    pub(crate) async fn sync(&self) {
        run(Command::new("sync").arg("--file-system").arg(self.mount_point())).await;
    }

    /// The name of the device that is mounted.
    fn device(&self) -> String {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount_point = self.mount_point();
        let here = |line: &&str| line.split(' ').nth(1).map(Path::new) == Some(&mount_point);
        let device = mounts.lines().rfind(here).unwrap().split(' ').next().unwrap();
        device.strip_prefix("/dev/").unwrap().to_owned()
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        // The file system, unless it is taken out, and what is below it.
        while umount2(&self.mount_point(), MntFlags::MNT_DETACH).is_ok() {}
    }
}

async fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Copies a data directory, which must not be in use, to a place where nothing is.
pub(crate) async fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to)).await;
}

/// Removes the content of a data directory.
pub(crate) fn empty(data: &Path) {
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }
}

/// The messages of the device in the queue of a data directory.
pub(crate) fn messages(data: &Path) -> BTreeSet<Message> {
    let Ok(files) = fs::read_dir(data.join("queue")) else { return BTreeSet::new() };
    let contents = files.map(|file| fs::read(file.unwrap().path()).unwrap());
    let found = contents.flat_map(|content| messages_in(&content));
    found.map(|(lane, number)| Message { direction: Direction::Up, lane, number }).collect()
}
