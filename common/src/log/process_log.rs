//! The log of this process: its queue, and the thread that writes it to standard error.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;

use super::limiter::{Limited, Limiter, MISSING};
use super::line;
use super::queue::{self, Queue, Work};
use super::writer;
use crate::RateLimit;
use crate::text::escape_lines;

/// How long the end of the program waits for the reader.
const LAST_LINES: Duration = Duration::from_millis(500);

/// What the writer's thread needs, which formats lines too.
const STACK: usize = 64 * 1024;

static LOG: OnceLock<Log> = OnceLock::new();

/// How a log is bounded.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// How many bytes of lines may wait for the reader.
    pub queue_bytes: usize,
    /// How many lines of one kind are written per second, and after a quiet time at once. Without it they are not
    /// limited.
    pub limit: Option<RateLimit>,
    /// Makes a line that is too long short enough: [`cut`](super::cut), unless it has a syntax.
    pub shorten: fn(line: &str, length: usize) -> String,
}

/// The log of this process.
pub struct Log {
    queue: &'static Queue,
    limiter: Option<&'static Limiter>,
    shorten: fn(&str, usize) -> String,
}

/// What was not written since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Lines that were dropped because standard error did not take them in time.
    pub dropped: u64,
    /// Lines beyond the limit of their kind.
    pub suppressed: u64,
}

/// Starts the log of this process, which has only one.
pub(super) fn start(options: LogOptions) -> io::Result<&'static Log> {
    let queue: &Queue = Box::leak(Box::new(Queue::new(options.queue_bytes)));
    let limiter = options.limit.map(|limit| &*Box::leak(Box::new(Limiter::new(limit, queue))));
    let log = Log { queue, limiter, shorten: options.shorten };
    if LOG.set(log).is_err() {
        return Err(io::Error::other("the log was started before"));
    }
    let thread = std::thread::Builder::new().name("log".into()).stack_size(STACK);
    thread.spawn(move || write_lines(queue, limiter))?;
    LOG.get().ok_or_else(|| io::Error::other("the log was not started"))
}

/// What was not written since the start; nothing without a log.
pub fn stats() -> LogStats {
    LOG.get().map_or_else(LogStats::default, |log| LogStats {
        dropped: log.queue.dropped(),
        suppressed: log.limiter.map_or(0, Limiter::suppressed),
    })
}

/// Writes a line for people, such as the error that ends the program: to the log, or directly if there is none yet.
/// It may have line breaks; other control characters are escaped.
pub fn print(line: &str) {
    let line = escape_lines(line);
    match LOG.get() {
        Some(log) => log.add(line.as_bytes()),
        None => drop(writer::write_all(format!("{line}\n").as_bytes())),
    }
}

/// At the end of the program: waits until all lines are written, but only shortly if the reader has stopped.
#[derive(Debug)]
pub struct FlushOnDrop;

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        flush();
    }
}

/// Waits like [`FlushOnDrop`].
pub(super) fn flush() {
    if let Some(log) = LOG.get() {
        if let Some(limiter) = log.limiter {
            limiter.tell_sums();
        }
        log.queue.flush(LAST_LINES);
    }
}

impl Log {
    /// For the subscriber: lines of this level and more important ones, within the limit.
    pub fn layer<S: Subscriber>(&self, level: LevelFilter) -> impl Layer<S> + use<S> {
        Limited { level, limiter: self.limiter }
    }

    /// Where the subscriber writes each event, by a single call.
    pub fn writer(&'static self) -> impl io::Write {
        Writer(self)
    }

    fn add(&self, event: &[u8]) {
        self.queue.add(&line::finish(event, self.shorten));
    }
}

struct Writer(&'static Log);

impl io::Write for Writer {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.add(event);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The writer's thread, which ends with the process.
fn write_lines(queue: &Queue, limiter: Option<&Limiter>) {
    let mut chunk = Vec::with_capacity(queue::CHUNK);
    loop {
        match queue.next(&mut chunk) {
            Work::TellSums => limiter.into_iter().for_each(Limiter::tell_sums),
            Work::Write => {
                let result = writer::write_all(&chunk);
                if let Some(dropped) = queue.written(&chunk, result) {
                    tell_dropped(&dropped);
                }
            }
        }
    }
}

/// An error, since the dropped lines may have been errors.
fn tell_dropped(dropped: &queue::Dropped) {
    let count = dropped.count;
    match dropped.failed {
        None => tracing::error!(
            target: MISSING,
            "dropped {count} log lines, since the reader of standard error did not keep up"
        ),
        Some(error) => {
            tracing::error!(target: MISSING, %error, "dropped {count} log lines, since standard error failed");
        }
    }
}
