//! Messages between programs and devices: the hub, topics, presence, and the backplane between nodes.

pub mod backplane;
pub(crate) mod down;
pub(crate) mod hub;
pub(crate) mod kept;
pub(crate) mod message;
pub(crate) mod presence;
pub(crate) mod request;
pub(crate) mod stats;
pub(crate) mod subscription;
pub(crate) mod topics;

pub use crate::handler::KeptOutcome;
pub use backplane::in_process::InProcess;
pub use backplane::{BackplaneError, DeliverError};
pub use down::{KeepDown, SendKeptError, SettledMessage};
pub use fedecks_delivery::NoReply;
pub use hub::{Hub, PublishError, SendError};
pub use kept::{Effects, KeptContent, KeptMessage};
pub use message::{Message, Published, Topic};
pub use presence::{
    ConnectionId, LostNode, NodeId, Presence, PresenceEvent, PresenceEvents, PresenceWatch,
    WatchEnded,
};
pub use request::{RequestError, RequestOutcome};
pub use stats::HubStats;
pub use subscription::Subscription;
pub use topics::TopicEvent;
