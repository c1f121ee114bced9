//! The log on standard error.

use std::io;

use tracing::Level;

/// Writes log lines at this level and above to standard error, where systemd's journal and any
/// other supervisor find them. A second call changes nothing.
pub(crate) fn start(level: Level) {
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        // A log that cannot be written is no reason to stop: saying so on the same standard error
        // would panic.
        .log_internal_errors(false)
        .try_init();
}
