//! What happens to messages and programs, as a history records it.

use std::collections::BTreeSet;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the device to the cloud.
    Up,
    /// From the cloud to the device.
    Down,
}

/// There is an order among the messages of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// For most messages.
    Normal,
    /// For those that go first.
    Urgent,
}

/// A message of a history, by the number that its sender has given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    /// Which way it goes.
    pub direction: Direction,
    /// Its lane.
    pub lane: Lane,
    /// Unique in this direction and lane.
    pub number: u64,
}

/// One end's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The device service.
    Device,
    /// The server.
    Cloud,
}

/// Where an accepted message is, and so what its acceptance promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Handed to the connection: it may be lost.
    Connection,
    /// Read by the other end, whose application need not have it yet: it is lost only if the other end's program is
    /// killed, with everything that was accepted after it in its lane.
    Read,
    /// In the sender's memory: it is lost only if the sender's program is killed before the other end has it. It is
    /// lost then with everything that was accepted after it in its lane.
    Memory,
    /// On the sender's disk: it is not lost.
    Disk,
}

/// What the sender was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was accepted, and has this id if it is kept.
    Accepted(Place, Option<String>),
    /// It was not accepted, and must not arrive.
    Refused,
    /// The answer was lost: it may arrive or not.
    Unknown,
}

/// What the sender learned of an accepted message later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The other end has it.
    Delivered,
    /// It has expired, was dropped or was rejected.
    Lost,
}

/// An entry of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// An application is about to send a message.
    Sent(Message),
    /// It has an answer.
    Answered(Message, Answer),
    /// It was informed of the message's fate.
    Reported(Message, Fate),
    /// The other application has received a message with this id.
    Received {
        /// Which one.
        message: Message,
        /// If it is kept.
        id: Option<String>,
        /// Whether it may have been handed over before.
        redelivered: bool,
    },
    /// The other application, which stores the ids of what it has received, has acted on a message.
    Applied(Message),
    /// A program was killed. Entered when it has ended.
    Killed(Program),
    /// From here on the device's disk may fail: it is full, cannot be written, or is missing.
    DiskFails,
    /// The device service has written to its disk again, or finds nothing wrong with it.
    DiskWorks,
    /// The storage of a program, which had ended, was emptied or replaced by an older copy.
    Erased(Erased),
    /// A second device with a copy of the device's disk has started. The copy contains these messages.
    Copied(BTreeSet<Message>),
}

/// What is gone with the storage of a program, and what an older copy has brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// The program.
    pub holder: Program,
    /// Messages that it contained, without those that the copy contains.
    pub messages: BTreeSet<Message>,
    /// The ids of others, of which it does not tell the numbers.
    pub ids: BTreeSet<String>,
    /// Messages that the copy contains.
    pub brought: BTreeSet<Message>,
}

impl Direction {
    /// The program that its application sends with in this direction.
    pub(super) fn sender(self) -> Program {
        match self {
            Self::Up => Program::Device,
            Self::Down => Program::Cloud,
        }
    }

    /// The program at the other end.
    pub(super) fn receiver(self) -> Program {
        match self {
            Self::Up => Program::Cloud,
            Self::Down => Program::Device,
        }
    }
}
