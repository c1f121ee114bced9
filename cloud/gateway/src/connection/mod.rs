//! The devices that are connected to this node, and the queue of each.

pub(crate) mod ask;
pub(crate) mod mailbox;
pub(crate) mod registry;
