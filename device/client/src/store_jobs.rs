//! The jobs on the disk. Each blocks a separate thread.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use fedecks_device_core::{LoginId, Nonce, QueueDone, QueueJob};
use fedecks_protocol::IssuedToken;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::warn;

use crate::storage::{DiskQueue, NonceFile, TokenStore};
use crate::tls::{TrustedTime, VerifiedPeer};

/// How long a login waits for a disk that does not respond.
const NONCE_TIMEOUT: Duration = Duration::from_secs(5);

/// The jobs that run, and what they work on.
pub(crate) struct StoreJobs {
    tokens: Arc<TokenStore>,
    nonces: NonceFile,
    queue: DiskQueue,
    running: JoinSet<StoreResult>,
}

/// The outcome of a job.
pub(crate) enum StoreResult {
    Loaded(Result<Option<IssuedToken>, String>),
    Stored(Result<(), String>),
    Nonce(LoginId, Nonce),
    Queue(QueueDone),
    /// The trusted time was updated. The core does not need to know.
    TimeObserved,
}

impl StoreJobs {
    pub(crate) fn new(tokens: TokenStore, nonces: NonceFile, queue: DiskQueue) -> Self {
        Self { tokens: Arc::new(tokens), nonces, queue, running: JoinSet::new() }
    }

    /// The result of the next job that ends; `None` if none is running.
    pub(crate) async fn next(&mut self) -> Option<StoreResult> {
        self.running.join_next().await.map(unwind)
    }

    pub(crate) fn load_token(&mut self, trusted_time: TrustedTime) {
        self.start(move |tokens| {
            // The time comes first: without it the cloud's certificate may look invalid,
            // and the token is of no use then.
            if let Err(error) = trusted_time.load() {
                warn!(%error, "cannot read the trusted time");
            }
            StoreResult::Loaded(tokens.load().map_err(text))
        });
    }

    pub(crate) fn save_token(&mut self, token: IssuedToken) {
        self.start(move |tokens| StoreResult::Stored(tokens.save(&token).map_err(text)));
    }

    pub(crate) fn forget_token(&mut self) {
        let forget_nonce = self.nonces.forgetting();
        self.start(move |tokens| {
            StoreResult::Stored(tokens.forget().and_then(|()| forget_nonce()).map_err(text))
        });
    }

    /// The nonce of a login. Without a disk it is one in memory.
    pub(crate) fn load_nonce(&mut self, login: LoginId) {
        let (load, in_memory) = (self.nonces.loading(), self.nonces.in_memory());
        self.running.spawn(async move {
            let loaded = match timeout(NONCE_TIMEOUT, spawn_blocking(load)).await {
                Ok(loaded) => unwind(loaded).map_err(text),
                Err(_) => Err("the data directory does not respond".to_owned()),
            };
            let nonce = loaded.unwrap_or_else(|error| {
                warn!(
                    error,
                    "cannot store the registration nonce: if the answer to this login is lost and this device \
                     restarts, the cloud counts the next login as another one"
                );
                in_memory
            });
            StoreResult::Nonce(login, nonce)
        });
    }

    /// From now on there is a new nonce. The next job on the disk removes the old one.
    pub(crate) fn forget_nonce(&mut self) {
        self.nonces.forget();
    }

    pub(crate) fn run_queue(&mut self, job: QueueJob, now_ms: Option<u64>) {
        let queue = self.queue.clone();
        self.start(move |_| StoreResult::Queue(queue.run(job, now_ms)));
    }

    pub(crate) fn trust_time(
        &mut self,
        trusted_time: TrustedTime,
        peer: VerifiedPeer,
        server_time_ms: u64,
    ) {
        // It has no lock of the directory, as it lives longer than this client.
        self.start(move |tokens| {
            if trusted_time.observe(server_time_ms, |claimed| peer.latest_valid(claimed)) {
                if let Err(error) = tokens.check_lock().and_then(|()| trusted_time.persist()) {
                    warn!(%error, "cannot store the trusted time");
                }
            }
            StoreResult::TimeObserved
        });
    }

    fn start(&mut self, job: impl FnOnce(&TokenStore) -> StoreResult + Send + 'static) {
        let tokens = Arc::clone(&self.tokens);
        self.running.spawn_blocking(move || job(&tokens));
    }
}

/// A panic in a job is a bug: it is resumed here, where it ends the loop visibly.
fn unwind<T>(done: Result<T, JoinError>) -> T {
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn text(error: impl Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
