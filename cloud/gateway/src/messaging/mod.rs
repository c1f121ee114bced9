//! What travels between programs and devices: messages, topics, presence, and the hub that has them.

pub mod backplane;
pub(crate) mod hub;
pub(crate) mod message;
pub(crate) mod presence;
pub(crate) mod topics;

pub use backplane::in_process::InProcess;
pub use backplane::{BackplaneError, DeliverError};
pub use hub::{Hub, HubStats, PushError, Subscription};
pub use message::{Info, Message, Topic};
pub use presence::{ConnectionId, NodeId, Presence, PresenceEvent, PresenceWatch, WatchEnded};
pub use topics::Lagged;
