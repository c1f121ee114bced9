//! What holds for every term, frame, header and input, not only for examples.

mod hostile;
mod round_trip;
mod serde_types;
mod strategies;
