//! The log on standard error.

use std::io;

use fedecks_common::RateLimit;
use fedecks_common::log::{self, LogOptions};
use tracing::Level;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How many bytes of lines may wait for the reader.
const QUEUE_BYTES: usize = 64 * 1024;

/// How many lines of one kind are written per second, and after a quiet time at once.
const LINES_PER_SECOND: u32 = 10;
const LINE_BURST: u32 = 100;

/// Writes log lines of this level and more important ones to standard error, where systemd's journal and other
/// supervisors read them.
pub(crate) fn start(level: Level) -> io::Result<()> {
    let log = log::start(LogOptions {
        queue_bytes: QUEUE_BYTES,
        limit: RateLimit::per_second(LINES_PER_SECOND, LINE_BURST),
        shorten: log::cut,
    })?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || log.writer())
        .with_ansi(false)
        .with_target(false);
    tracing_subscriber::registry()
        .with(lines)
        .with(log.layer(level.into()))
        .try_init()
        .map_err(io::Error::other)
}
