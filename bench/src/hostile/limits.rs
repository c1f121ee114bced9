//! What an attack may cost.

use std::time::Duration;

/// How much more resident memory the server may use under an attack than at rest, in bytes.
pub(super) const SERVER_MEMORY: u64 = 256 * 1024 * 1024;

/// The same for the device service.
pub(super) const DEVICE_MEMORY: u64 = 8 * 1024 * 1024;

/// How long a login, a revocation and a health check may take while the server is attacked.
pub(super) const ANSWER: Duration = Duration::from_secs(1);

/// How much of a core one device may take with messages that say nothing.
pub(super) const DEVICE_CPU: f64 = 0.25;

/// How many bytes strangers may add to the log per second.
pub(super) const LOG_BYTES_PER_SECOND: f64 = 256.0 * 1024.0;

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
