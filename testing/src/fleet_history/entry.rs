//! What happens in a fleet on several servers, as a history of it records that.

use std::time::Duration;

use crate::history::Message;

/// A server, by its number.
pub type Node = usize;

/// A device, by its number.
pub type Device = usize;

/// An entry of the history of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetEntry {
    /// A server has answered `/readyz`.
    Says {
        /// Which one.
        node: Node,
        /// Whether it says that something which it needs cannot be reached.
        is_cut_off: bool,
    },
    /// A server was started, or continues after it was stopped.
    Returns(Node),
    /// The API has confirmed that the tokens of this device are revoked.
    Revoked(Device),
    /// A server has let the device in by its first token, or answered it in a session that began so.
    Serves {
        /// The server.
        node: Node,
        /// The device.
        device: Device,
        /// When the device had asked for that.
        asked: Duration,
    },
    /// A session of the device has its first acknowledgement. The device numbers its sessions as it opens them.
    Established {
        /// The device.
        device: Device,
        /// The number of the session.
        session: u64,
    },
    /// A device that never leaves by itself has a session again.
    Back {
        /// The device.
        device: Device,
        /// For how long it had none.
        away: Duration,
    },
    /// The device has made a message, or an application begins to send one to it.
    Made(Device, Message),
    /// A session has acknowledged a message of the device.
    Acknowledged {
        /// The device.
        device: Device,
        /// The number of the session.
        session: u64,
        /// The message.
        message: Message,
    },
    /// A message to the device came in a session.
    HandedOver {
        /// The device.
        device: Device,
        /// The number of the session.
        session: u64,
        /// The message.
        message: Message,
    },
    /// A server has answered the device in a session.
    Open {
        /// The server.
        node: Node,
        /// The device.
        device: Device,
        /// The number of the session.
        session: u64,
        /// When the device had asked.
        asked: Duration,
    },
    /// A webhook's receiver has accepted the event of a message.
    Delivered {
        /// The device.
        device: Device,
        /// The message.
        message: Message,
        /// The delivery's `webhook-id`.
        id: String,
    },
    /// A server's event stream has shown the event of a message.
    Shown {
        /// The server.
        node: Node,
        /// The device.
        device: Device,
        /// The message.
        message: Message,
    },
    /// A server's event stream has said that events are missing, or was opened without the id of an earlier event.
    Gap(Node),
    /// A fault begins; for people.
    Fault(String),
    /// The last fault has ended. Where a server has to take over, it has done that.
    FaultsOver,
    /// What a server says of the presence of all devices has become what it is.
    Converged(Node),
    /// A device, or an answer to a request, was not as the protocol says.
    Broken(String),
    /// The trial has ended: these servers have to show the presence.
    Ended(Vec<Node>),
}

/// An entry with its time since the begin of its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetRecord {
    /// Since the begin.
    pub at: Duration,
    /// What happened.
    pub entry: FleetEntry,
}
