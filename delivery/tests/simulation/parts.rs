//! The actions of a world, and what it is made of.

use std::collections::VecDeque;

use fedecks_delivery::{Position, Receiver};
use fedecks_protocol::{Lane, StreamId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Accept(Lane),
    Transmit,
    /// A frame arrives at this session.
    Arrive(usize),
    /// What this session has handed over is stored.
    Store(usize),
    /// This session acknowledges.
    Acknowledge(usize),
    /// A frame arrives at the sender.
    Answer,
    Connect,
    /// The older session notices that its connection is gone.
    EndOlder,
    CutUp,
    CutDown,
    KillSender,
    KillReceiver,
    BackUpSender,
    RestoreSender,
    BackUpReceiver,
    RestoreReceiver,
    WipeReceiver,
    /// The clock of the sender jumps, maybe back.
    Expire(u64),
    Cancel(u64),
    DropOldest(Lane),
    Rewind(usize),
}

/// What waits in a stream of the sender, on disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Saved {
    pub(crate) lane: Lane,
    pub(crate) stream: StreamId,
    pub(crate) first: u64,
    /// Tag and whether it was sent under another number, or none if it was voided.
    pub(crate) entries: VecDeque<Option<(u64, bool)>>,
    pub(crate) tried: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Up {
    Resume(u64, Lane, StreamId, u64, u64),
    Kept(u64, u64, u64, bool),
    Skip(u64, u64, u64),
    Close(u64),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Down {
    Ack(u64, Position, u64, u64, Vec<u64>),
    Rewind(u64, u64),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Handed {
    pub(crate) handle: u64,
    pub(crate) stream: StreamId,
    pub(crate) lane: Lane,
    pub(crate) from: u64,
    pub(crate) to: Position,
    pub(crate) is_gap: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) receiver: Receiver,
    pub(crate) is_loaded: bool,
    pub(crate) fence: u64,
    pub(crate) up: VecDeque<Up>,
    pub(crate) down: VecDeque<Down>,
    pub(crate) handed: VecDeque<Handed>,
    pub(crate) cut_up: bool,
    pub(crate) cut_down: bool,
}
