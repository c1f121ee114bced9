//! What goes between programs and devices: messages, topics, presence, and the hub that has them.

pub(crate) mod backplane;
pub(crate) mod hub;
pub(crate) mod message;
pub(crate) mod presence;
pub(crate) mod topics;
