//! A server in whose store messages wait for devices before it starts.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use fedecks_cloud::store::{
    DeviceQueueStore, DownLimits, NewDown, Queued, SqliteStore, StoreOptions, unix_now,
};
use fedecks_protocol::{Dialect, Lane, Limits, Tag, Term};
use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::http::Http;
use fedecks_testing::wait::PATIENCE;
use fedecks_testing::{PASSWORD, USER};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use crate::error::{Error, Result};
use crate::identity::device_id;

/// The store of the program in its folder.
pub(crate) const STORE: &str = "fedecks-data/fedecks.sqlite";

/// How long the messages live, in seconds.
const DAY: u64 = 24 * 60 * 60;

/// How many are queued at the same time.
const AT_ONCE: usize = 32;

/// What waits.
pub(crate) struct Waiting {
    /// The devices.
    pub(crate) devices: Range<usize>,
    /// How many messages for each.
    pub(crate) each: u64,
    /// The bytes of a message.
    pub(crate) payload: usize,
}

/// The server, with a listener for its metrics.
pub(crate) struct WaitingCloud {
    pub(crate) process: CloudProcess,
    metrics: Http,
}

/// A listener for metrics only.
pub(crate) const METRICS: &str =
    "[[listener]]\naddress = \"127.0.0.1:0\"\nserves = [\"metrics\"]\n";

impl WaitingCloud {
    /// Starts the program with these lines in its configuration after the messages were stored.
    pub(crate) async fn start(program: &Path, lines: &str, waiting: Waiting) -> Result<Self> {
        let program = CloudProgram::configured(program, &format!("{lines}{METRICS}"));
        // Creates the store.
        program.add_account(USER, PASSWORD).await;
        waiting.store(&program.folder.path().join(STORE)).await?;
        let process = program.serve(&[]).await;
        let metrics = *process.addresses().get(1).ok_or("no listener for metrics")?;
        Ok(Self { process, metrics: Http::to(metrics) })
    }

    /// The value of a metric.
    pub(crate) async fn sample(&self, name: &str) -> Result<f64> {
        let text = self.metrics.get("/metrics").await.text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.ok_or_else(|| format!("no metric {name}"))?.parse()?)
    }

    /// How many messages the server has stored as delivered since it started.
    pub(crate) async fn delivered(&self) -> Result<f64> {
        self.sample("fedecks_device_messages_settled_total{state=\"delivered\"}").await
    }

    /// Waits until it has stored this many.
    pub(crate) async fn until_delivered(&self, count: f64) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.delivered().await? < count {
            if Instant::now() > until {
                return Err("not all messages were stored as delivered".into());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl Waiting {
    async fn store(self, path: &Path) -> Result<()> {
        let store = SqliteStore::open_existing(path, StoreOptions::default())?;
        let term = Term::Bytes(vec![b'x'; self.payload]);
        let body = Dialect::Bincode.keep_term(&term, &Limits::default())?.as_bytes().to_vec();
        let at = unix_now();
        // As many for a device as are wanted.
        let limits = DownLimits { messages: u64::MAX, bytes: u64::MAX, total_bytes: u64::MAX };
        let each = self.each;
        let messages = self.devices.flat_map(|device| (0..each).map(move |_| device));
        let queued = messages.map(|device| {
            let message = NewDown {
                id: Tag(fastrand::u64(1..)),
                lane: Lane::Normal,
                raw: false,
                body: body.clone().into(),
                at,
                expires_at: at + DAY,
                collapse_key: None,
            };
            let store = &store;
            async move {
                let device = device_id(device)?;
                Ok::<_, Error>(store.queue_message(&device, message, None, limits).await?)
            }
        });
        // Those that are queued at the same time share a sync of the disk.
        let mut queued = stream::iter(queued).buffer_unordered(AT_ONCE);
        while let Some(queued) = queued.next().await {
            let queued = queued?;
            if !matches!(queued, Queued::Accepted { .. }) {
                return Err(format!("a message was not queued: {queued:?}").into());
            }
        }
        Ok(())
    }
}
