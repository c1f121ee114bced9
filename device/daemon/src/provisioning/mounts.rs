//! What is mounted, as it changes.

use std::fs::File;
use std::future::pending;
use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::debug;

/// Hears of file systems that come and go. It costs nothing while none does.
pub(super) struct Mounts(Option<AsyncFd<File>>);

impl Mounts {
    pub(super) fn watch() -> Self {
        let watched = Self::open();
        if let Err(error) = &watched {
            debug!(%error, "file systems that are mounted later are not noticed at once");
        }
        Self(watched.ok())
    }

    fn open() -> io::Result<AsyncFd<File>> {
        let file = File::open("/proc/self/mountinfo")?;
        // poll(2) tells of changes here by POLLPRI; see proc_pid_mounts(5).
        #[expect(unsafe_code, reason = "this takes a promise about the descriptor")]
        // SAFETY: the file owns its descriptor and does not replace it.
        Ok(unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY) }?)
    }

    /// Waits for the next change; for ever where the system tells of none.
    pub(super) async fn changed(&self) {
        let Some(watched) = &self.0 else { return pending().await };
        match watched.ready(Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => pending().await,
        }
    }
}
