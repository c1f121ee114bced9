//! The log of a service: lines go to a bounded queue, and one thread writes them to standard error. No other thread
//! waits for the reader: a line that does not fit is dropped and counted. Formatting is the subscriber's.
//!
//! `tracing-appender` bounds its queue by lines, whose length strangers influence, and does not say in the log what
//! it has dropped.

mod limiter;
mod line;
mod panic;
mod process_log;
mod queue;
mod writer;

use std::io;

pub use line::cut;
pub use process_log::{FlushOnDrop, Log, LogOptions, LogStats, print, stats};

/// Starts the log of this process, which has only one. From then on panics are lines of it.
pub fn start(options: LogOptions) -> io::Result<&'static Log> {
    let log = process_log::start(options)?;
    panic::hook();
    Ok(log)
}
