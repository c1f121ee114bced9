//! What all parts of a trial share: the devices, what they remember, and the histories.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fedecks_protocol::{StreamId, Tag};
use fedecks_testing::fleet_history::{FleetEntry, FleetHistory};
use fedecks_testing::history::{Answer, Direction, Entry, History, Lane, Message, Place};
use fedecks_testing::inbox::Inbox;

/// The lanes, by the index that memories and sessions have them at.
pub(crate) const LANES: [Lane; 2] = [Lane::Normal, Lane::Urgent];

/// What all parts of a trial share.
pub(crate) struct World {
    pub(crate) history: Rc<FleetHistory>,
    pub(crate) nodes: Vec<SocketAddr>,
    pub(crate) devices: Vec<Rc<Device>>,
    /// Whether the event stream of each server is open.
    pub(crate) streams: Vec<Cell<bool>>,
    /// Whether devices never leave by themselves.
    pub(crate) is_steady: bool,
    /// Whether devices stay connected from now on.
    pub(crate) is_calm: Cell<bool>,
    /// Whether applications send nothing more.
    pub(crate) is_over: Cell<bool>,
}

/// A device, over all its connections.
pub(crate) struct Device {
    pub(crate) number: usize,
    pub(crate) id: String,
    pub(crate) messages: Arc<History>,
    pub(crate) memory: RefCell<Memory>,
    /// What the device receives, and what the cloud's application receives from it.
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Inbox,
    /// The number of its newest session.
    pub(crate) session: Cell<u64>,
    /// The sessions that are open and not superseded as far as it knows.
    pub(crate) is_connected: Cell<bool>,
}

/// What a device keeps.
pub(crate) struct Memory {
    /// By lane.
    pub(crate) up: [Made; 2],
    /// What it has taken, by lane.
    pub(crate) taken: [Option<Position>; 2],
}

/// The messages that a device has made in a lane. Their numbers are those in the stream.
pub(crate) struct Made {
    pub(crate) stream: StreamId,
    pub(crate) tags: Vec<Tag>,
    pub(crate) acknowledged: u64,
    /// The greatest that was sent on any connection.
    pub(crate) was_sent: u64,
}

/// How far a device has taken the messages of a lane.
#[derive(Clone, Copy)]
pub(crate) struct Position {
    pub(crate) stream: StreamId,
    pub(crate) up_to: u64,
    pub(crate) tag: Tag,
}

impl Made {
    fn new() -> Self {
        let stream = StreamId(fastrand::u128(..).to_ne_bytes());
        Self { stream, tags: Vec::new(), acknowledged: 0, was_sent: 0 }
    }

    /// The number of the newest.
    pub(crate) fn newest(&self) -> u64 {
        self.tags.len() as u64
    }
}

impl Device {
    pub(crate) fn new(number: usize) -> Rc<Self> {
        let messages = Arc::new(History::default());
        let memory = Memory { up: [Made::new(), Made::new()], taken: [None, None] };
        Rc::new(Self {
            number,
            id: format!("trial-{number}"),
            memory: RefCell::new(memory),
            inbox: Inbox::new(&messages),
            outbox: Inbox::new(&messages),
            messages,
            session: Cell::new(0),
            is_connected: Cell::new(false),
        })
    }

    /// Makes a message of the lane with this index, unless too many are not acknowledged.
    pub(crate) fn make(&self, lane: usize, history: &FleetHistory) {
        let made = &mut self.memory.borrow_mut().up[lane];
        if made.newest() - made.acknowledged >= 100 {
            return;
        }
        made.tags.push(Tag(fastrand::u64(1..)));
        let message =
            Message { direction: Direction::Up, lane: LANES[lane], number: made.newest() };
        history.add(FleetEntry::Made(self.number, message));
        self.messages.add(Entry::Sent(message));
    }

    /// Notes that a session has acknowledged the messages of a lane up to this one.
    pub(crate) fn acknowledge(
        &self,
        lane: usize,
        up_to: u64,
        session: u64,
        history: &FleetHistory,
    ) {
        let made = &mut self.memory.borrow_mut().up[lane];
        if up_to > made.newest() {
            let text = format!("{} has an acknowledgement of {up_to}", self.id);
            history.add(FleetEntry::Broken(text));
            return;
        }
        for number in made.acknowledged + 1..=up_to {
            let message = Message { direction: Direction::Up, lane: LANES[lane], number };
            let id = made.tags[usize::try_from(number).unwrap() - 1].to_string();
            self.messages.add(Entry::Answered(message, Answer::Accepted(Place::Disk, Some(id))));
            let device = self.number;
            history.add(FleetEntry::Acknowledged { device, session, message });
        }
        made.acknowledged = made.acknowledged.max(up_to);
    }

    /// How many of its messages are not acknowledged.
    pub(crate) fn unacknowledged(&self) -> u64 {
        let memory = self.memory.borrow();
        memory.up.iter().map(|made| made.newest() - made.acknowledged).sum()
    }
}

/// The number of devices, of those that never leave, that send as much as all of them together.
const BUSY: usize = 24;

impl World {
    /// A pause of a device, or of the application that sends to it, between two messages.
    pub(crate) fn pause(&self, pause: Duration) -> Duration {
        let devices = u32::try_from(self.devices.len().div_ceil(BUSY)).unwrap();
        if self.is_steady { pause * devices } else { pause }
    }

    /// The device with this id.
    pub(crate) fn device(&self, id: &str) -> Option<&Rc<Device>> {
        self.devices.get(id.strip_prefix("trial-")?.parse::<usize>().ok()?)
    }
}

/// The content of a message.
pub(crate) fn text(message: Message) -> String {
    let lane = match message.lane {
        Lane::Normal => "normal",
        Lane::Urgent => "urgent",
    };
    format!("{lane} {}", message.number)
}

/// The message with this content.
pub(crate) fn parse(direction: Direction, text: &str) -> Option<Message> {
    let (lane, number) = text.split_once(' ')?;
    let lane = match lane {
        "normal" => Lane::Normal,
        "urgent" => Lane::Urgent,
        _ => return None,
    };
    Some(Message { direction, lane, number: number.parse().ok()? })
}
