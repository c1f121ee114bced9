//! What is true for every term, frame, header and input, not only for examples.
#![expect(clippy::unwrap_used, reason = "test helpers, which clippy does not recognize as tests")]

mod hostile;
mod round_trip;
mod serde_types;
mod strategies;
