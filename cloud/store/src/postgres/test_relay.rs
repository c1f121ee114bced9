//! A relay between a store and a server for tests, which loses a connection while it commits.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// When a connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Before its COMMIT arrives.
    BeforeCommit,
    /// After the server has answered COMMIT, before the answer arrives.
    AfterCommit,
}

/// Passes connections to the server as long as it lives.
pub(super) struct TestRelay {
    pub(super) port: u16,
    cut: Arc<Mutex<Option<Cut>>>,
    task: AbortHandle,
}

impl TestRelay {
    /// A relay to this port.
    pub(super) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(Mutex::new(None));
        let task = tokio::spawn(accept(listener, server, cut.clone())).abort_handle();
        Self { port, cut, task }
    }

    /// Loses the next connection that commits. Later ones are passed again.
    pub(super) fn lose_next(&self, cut: Cut) {
        *self.cut.lock() = Some(cut);
    }

    /// Whether that has happened.
    pub(super) fn has_lost(&self) -> bool {
        self.cut.lock().is_none()
    }
}

impl Drop for TestRelay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: u16, cut: Arc<Mutex<Option<Cut>>>) {
    // Dropped, and with it every connection, when this task is aborted.
    let mut connections = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        connections.spawn(pass(near, server, cut.clone()));
    }
}

/// Passes a connection until one end closes it, or it is to be lost.
async fn pass(mut near: TcpStream, server: u16, cut: Arc<Mutex<Option<Cut>>>) -> io::Result<()> {
    let mut far = TcpStream::connect(("127.0.0.1", server)).await?;
    let (mut sent, mut answered) = ([0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            count = near.read(&mut sent) => {
                let bytes = &sent[..count?];
                // The client waits for the answer to what was before, so that it comes alone.
                let cut = if commits(bytes) { cut.lock().take() } else { None };
                if bytes.is_empty() || cut == Some(Cut::BeforeCommit) {
                    return Ok(());
                }
                far.write_all(bytes).await?;
                if cut == Some(Cut::AfterCommit) {
                    return far.read(&mut answered).await.map(drop);
                }
            }
            count = far.read(&mut answered) => {
                let bytes = &answered[..count?];
                if bytes.is_empty() {
                    return Ok(());
                }
                near.write_all(bytes).await?;
            }
        }
    }
}

fn commits(bytes: &[u8]) -> bool {
    bytes.ends_with(b"COMMIT\0")
}
