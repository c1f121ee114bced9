//! What the details of an [`Event`] and a [`Status`](crate::Status) are made of.

#[doc(inline)]
pub use fedecks_device_core::{Attempt, Event, FailReason, LostReason, Phase, State, Stored, Time};
