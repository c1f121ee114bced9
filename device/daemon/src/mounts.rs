//! Waits for file systems to be mounted or unmounted.

use std::fs::File;
use std::future::pending;
use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::debug;

/// Changes of the mount table. Costs nothing while there are none.
pub(crate) struct Mounts(Option<AsyncFd<File>>);

impl Mounts {
    pub(crate) fn watch() -> Self {
        let watched = Self::open();
        if let Err(error) = &watched {
            debug!(%error, "cannot watch the mount table");
        }
        Self(watched.ok())
    }

    fn open() -> io::Result<AsyncFd<File>> {
        let file = File::open("/proc/self/mountinfo")?;
        // poll(2) reports changes of this file by POLLPRI; see proc_pid_mounts(5).
        #[expect(unsafe_code, reason = "this takes a promise about the descriptor")]
        // SAFETY: the file owns its descriptor and does not replace it.
        Ok(unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY) }?)
    }

    /// Waits for the next change; forever if the mount table cannot be watched.
    pub(crate) async fn changed(&self) {
        let Some(watched) = &self.0 else { return pending().await };
        match watched.ready(Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => pending().await,
        }
    }
}
