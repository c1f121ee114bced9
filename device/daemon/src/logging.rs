//! The log on standard error.

use std::io;

use tracing::Level;

/// Writes log lines of this level and more important ones to standard error, where systemd's journal and other
/// supervisors read them. A second call changes nothing.
pub(crate) fn start(level: Level) {
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        // The service continues without a log. Reporting a failed write to the same standard error would panic.
        .log_internal_errors(false)
        .try_init();
}
