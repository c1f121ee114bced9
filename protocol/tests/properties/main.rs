//! What holds for every term, frame, header and input, not only for examples.
#![expect(clippy::unwrap_used, reason = "the helpers of tests stop where a test would")]

mod hostile;
mod round_trip;
mod serde_types;
mod strategies;
