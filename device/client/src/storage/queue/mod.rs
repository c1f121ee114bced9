//! The queue of kept messages on disk, in the folder `queue` of the data directory.

mod worker;

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::sync::{Arc, Mutex, PoisonError};

use fedecks_device_core::{DiskLimits, QueueDone, QueueJob};
use fedecks_device_queue::Disk;
use fedecks_protocol::DeviceId;

use self::worker::{QueueWorker, failed};
use super::data_dir::DataDir;
use super::store_error::StoreError;

/// Clones share the queue.
#[derive(Debug, Clone)]
pub(crate) struct DiskQueue {
    directory: DataDir,
    worker: Arc<Mutex<QueueWorker<Disk>>>,
}

impl DiskQueue {
    pub(crate) fn new(
        directory: &DataDir,
        device: &DeviceId,
        limits: DiskLimits,
        max_message: usize,
    ) -> Self {
        let worker = QueueWorker::new(device.to_string(), limits, max_message);
        Self { directory: directory.clone(), worker: Arc::new(Mutex::new(worker)) }
    }

    /// Executes a job. Blocks on the disk.
    pub(crate) fn run(&self, job: QueueJob, now_ms: Option<u64>) -> QueueDone {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        match self.prepare(worker.is_open(), !job.append.is_empty()) {
            Ok(true) => worker.run(job, now_ms, || Disk::new(&self.directory.path().join("queue"))),
            // There can be nothing in a directory that was never written.
            Ok(false) => QueueDone { now_ms, ..QueueDone::default() },
            Err(error) => failed(job, error.to_string()),
        }
    }

    /// Whether the directory can be used. One that does not exist is created to write only.
    fn prepare(&self, is_open: bool, writes: bool) -> Result<bool, StoreError> {
        let directory = &self.directory;
        directory.check()?;
        if is_open || directory.path().is_dir() {
            return Ok(true);
        }
        if !directory.can_be_created() {
            return Err(StoreError::NoDirectory { directory: directory.path().to_owned() });
        }
        if writes {
            let path = directory.path();
            let created = DirBuilder::new().mode(0o700).create(path);
            created.map_err(|source| StoreError::io(path, "create", path, source))?;
            // A power cut must not lose it with its content. It may be forbidden to open its parent.
            let _ = File::open(path.join("..")).and_then(|parent| parent.sync_all());
        }
        Ok(writes)
    }
}
