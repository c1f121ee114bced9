//! The rules of several servers ("nodes") on one database. This crate does no I/O and knows no clock: it is given what
//! happened and when, and says what follows.
//!
//! [`lease`] has a node's own lease: when it is renewed, what the node may do meanwhile, and when another one takes over.
//! [`newest`] says which connection of a device is the newest.

#![deny(clippy::exhaustive_enums, clippy::exhaustive_structs)]

pub mod lease;
pub mod newest;
