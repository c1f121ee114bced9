//! Logs in, revokes and asks for health and events during an attack, on a separate thread, so
//! that an attacker that keeps its thread busy does not delay the clocks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fedecks_protocol::Proof;
use fedecks_testing::device::credentials;
use fedecks_testing::http::Http;
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::{PASSWORD, USER};
use http::{Method, StatusCode};
use tokio::time::{Instant, sleep, timeout};

use crate::error::Result;

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(250);

/// How long one answer may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The slowest answer of each kind, and the first wrong one.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) failure: Option<String>,
    pub(super) login: Duration,
    pub(super) revocation: Duration,
    pub(super) health: Duration,
}

/// Probes until it is stopped.
pub(super) struct Prober {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Answers>,
}

impl Prober {
    pub(super) fn start(address: SocketAddr, admin: String) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("prober".to_owned())
            .spawn(move || runtime.block_on(probe(address, &admin, &stopped)))?;
        Ok(Self { stop, thread })
    }

    /// What the slowest answers took.
    pub(super) fn stop(self) -> Result<Answers> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the prober panicked".into())
    }
}

async fn probe(address: SocketAddr, admin: &str, stop: &AtomicBool) -> Answers {
    let mut answers = Answers::default();
    let mut round = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        if let Err(error) = answers.ask(address, admin, &format!("probe-{round}")).await {
            answers.failure.get_or_insert(error.to_string());
        }
        sleep(PAUSE).await;
    }
    answers
}

impl Answers {
    /// Asks for everything once, each on a new connection, as devices and operators do.
    async fn ask(&mut self, address: SocketAddr, admin: &str, id: &str) -> Result<()> {
        let begin = Instant::now();
        let proof = Proof::Credentials(credentials(USER, PASSWORD));
        let device = timeout(PATIENCE, RawDevice::dial(address, id, proof)).await;
        let device = device.map_err(|_| "a login was not answered")?;
        let device = device.map_err(|refused| format!("a login was refused: {refused:?}"))?;
        self.login = self.login.max(begin.elapsed());

        let api = Http::to(address).token(admin).json();
        let begin = Instant::now();
        let path = format!("/api/v1/devices/{id}/revoke");
        let answer = api.post(&path, "");
        let answer =
            timeout(PATIENCE, answer).await.map_err(|_| "a revocation was not answered")?;
        // A device is in the store about a second after its first login.
        if !answer.status.is_success() && answer.status != StatusCode::NOT_FOUND {
            return Err(format!("a revocation was answered {}", answer.status).into());
        }
        self.revocation = self.revocation.max(begin.elapsed());
        drop(device);

        let begin = Instant::now();
        let answer = timeout(PATIENCE, Http::to(address).get("/healthz")).await;
        let answer = answer.map_err(|_| "a health check was not answered")?;
        if answer.status != StatusCode::OK {
            return Err(format!("a health check was answered {}", answer.status).into());
        }
        self.health = self.health.max(begin.elapsed());

        let stream = timeout(PATIENCE, api.open(Method::GET, "/api/v1/events", "")).await;
        let status = stream.map_err(|_| "an event stream was not answered")?.status();
        if status != StatusCode::OK {
            return Err(format!("an event stream was answered {status}").into());
        }
        Ok(())
    }
}
