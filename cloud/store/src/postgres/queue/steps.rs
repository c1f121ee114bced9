//! How much of a queue a transaction reads or changes.

/// How many rows a step changes.
pub(super) const STEP_ROWS: i64 = 500;

/// How many reservations a step ends.
pub(super) const STEP_SETTLEMENTS: usize = 500;

/// A step that reads or deletes ends after about this many bytes.
pub(super) const STEP_BYTES: u64 = 8 * 1024 * 1024;
