//! The log: to standard error, for people or as JSON.

use crate::config::{Log, LogFormat};

/// Writes the log from now on.
pub(super) fn start(log: &Log) {
    let subscriber =
        tracing_subscriber::fmt().with_max_level(log.level).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}
