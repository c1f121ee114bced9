//! The devices that are connected to this node, and what waits for each of them.

pub(crate) mod mailbox;
pub(crate) mod registry;
