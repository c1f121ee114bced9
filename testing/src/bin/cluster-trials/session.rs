//! A connection of a device: it sends and takes kept messages, and answers questions.

use std::rc::Rc;
use std::time::Duration;

use fedecks_protocol::{
    AUTH_HEADER, Ack, Capabilities, CloseReason, Content, DeliveryFrame, Dialect, DownFrame, Kept,
    Lane, Limits, Proof, RequestFrame, Resume, Tag, Term, UpFrame,
};
use fedecks_testing::fleet_history::FleetEntry;
use fedecks_testing::history::{self, Direction, Message as Sent};
use fedecks_testing::raw_device::{RawDevice, SUBPROTOCOL, auth_header};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::world::{Device, LANES, Position, World, parse, text};

/// How long a server may take to let a device in, and a device waits for a sign of life.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The most that a cloud sends before an acknowledgement.
const CREDIT: (u64, u64) = (64, 256 * 1024);

/// A connection.
pub(crate) struct Session {
    pub(crate) raw: RawDevice,
    pub(crate) device: Rc<Device>,
    world: Rc<World>,
    pub(crate) node: usize,
    /// Its number among those of the device.
    pub(crate) number: u64,
    /// Whether the device knows of no newer one.
    pub(crate) is_newest: bool,
    /// By lane, up: whether it was announced, the last that was sent once the position is known, and how far it may go.
    lanes: [Up; 2],
    /// The lanes that the server has announced.
    handles: Vec<(u64, usize)>,
    pub(crate) is_established: bool,
    /// When each of the signs of life was asked for that are still missing, from this number on.
    asked: Vec<Duration>,
    answered: u64,
}

#[derive(Default)]
struct Up {
    is_announced: bool,
    sent: Option<u64>,
    credit_to: u64,
}

/// Connects by a token, and takes the Welcome; `None` if that fails.
pub(crate) async fn dial(world: &World, node: usize, id: &str, proof: Proof) -> Option<RawDevice> {
    let dialled = async {
        let stream = TcpStream::connect(world.nodes[node]).await.ok()?;
        let header = auth_header(id, proof);
        let headers = [(AUTH_HEADER, header.as_str()), SUBPROTOCOL];
        let mut raw = RawDevice::upgrade(stream, &headers).await.ok()?;
        let first = hear(&mut raw).await?;
        matches!(first, DownFrame::Welcome(_)).then_some(raw)
    };
    timeout(PATIENCE, dialled).await.ok()?
}

/// The next frame; `None` at the end of the connection.
pub(crate) async fn hear(raw: &mut RawDevice) -> Option<DownFrame> {
    hear_or_end(raw).await.ok()
}

/// The next frame, or for how long the device is asked to stay away at the end of the connection.
pub(crate) async fn hear_or_end(raw: &mut RawDevice) -> Result<DownFrame, Option<Duration>> {
    loop {
        match raw.ws.next().await.ok_or(None)?.map_err(|_| None)? {
            Message::Binary(bytes) => {
                return Dialect::Bincode.decode_down(&bytes, &Limits::default()).map_err(|_| None);
            }
            Message::Close(close) => {
                let close = close.map(|it| CloseReason::parse(it.code.into(), it.reason.as_str()));
                return Err(close.and_then(|close| close.retry_after));
            }
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// Sends a frame; `None` if the connection has ended or takes nothing.
pub(crate) async fn tell(raw: &mut RawDevice, frame: &UpFrame) -> Option<()> {
    let bytes = Dialect::Bincode.encode_up(frame, &Limits::default()).unwrap();
    timeout(PATIENCE, raw.ws.send(Message::binary(bytes))).await.ok()?.ok()
}

impl Session {
    pub(crate) async fn open(
        raw: RawDevice,
        device: &Rc<Device>,
        world: &Rc<World>,
        node: usize,
    ) -> Option<Self> {
        let number = device.session.get() + 1;
        device.session.set(number);
        let mut session = Self {
            raw,
            device: Rc::clone(device),
            world: Rc::clone(world),
            node,
            number,
            is_newest: true,
            lanes: Default::default(),
            handles: Vec::new(),
            is_established: false,
            asked: Vec::new(),
            answered: 0,
        };
        session.tell(&UpFrame::Hello(Capabilities::ALL)).await?;
        session.send_kept().await?;
        Some(session)
    }

    /// What it shares with others.
    pub(crate) fn world(&self) -> Rc<World> {
        Rc::clone(&self.world)
    }

    async fn tell(&mut self, frame: &UpFrame) -> Option<()> {
        tell(&mut self.raw, frame).await
    }

    /// Asks for a sign of life.
    pub(crate) async fn ask(&mut self) -> Option<()> {
        self.asked.push(self.world.history.now());
        self.tell(&UpFrame::KeepAlive(self.asked.len() as u64)).await
    }

    /// Handles a frame; `None` if the connection has ended.
    pub(crate) async fn on(&mut self, frame: DownFrame) -> Option<()> {
        match frame {
            DownFrame::Alive(number) => self.on_alive(number),
            DownFrame::Request(RequestFrame::Request { request, content, .. }) => {
                let reply = RequestFrame::Reply { request, content };
                self.tell(&UpFrame::Request(reply)).await?;
            }
            DownFrame::Delivery(frame) => self.on_delivery(frame).await?,
            DownFrame::Token(_)
            | DownFrame::Request(_)
            | DownFrame::Welcome(_)
            | DownFrame::Message { .. }
            | DownFrame::Raw { .. }
            | DownFrame::Unknown { .. } => {}
        }
        Some(())
    }

    fn on_alive(&mut self, number: u64) {
        let Some(index) = usize::try_from(number).ok().and_then(|it| it.checked_sub(1)) else {
            return;
        };
        let asked = self.asked.get(index).copied().filter(|_| number > self.answered);
        self.answered = self.answered.max(number);
        if let Some(asked) = asked.filter(|_| !self.is_newest) {
            let (node, device, session) = (self.node, self.device.number, self.number);
            self.world.history.add(FleetEntry::Open { node, device, session, asked });
        }
    }

    async fn on_delivery(&mut self, frame: DeliveryFrame) -> Option<()> {
        match frame {
            DeliveryFrame::Ack(ack) => self.on_ack(&ack).await,
            DeliveryFrame::Resume(resume) => self.on_resume(&resume).await,
            DeliveryFrame::Kept(kept) => self.on_kept(kept).await,
            DeliveryFrame::Close { handle } => {
                self.handles.retain(|(known, _)| *known != handle);
                Some(())
            }
            DeliveryFrame::Skip(skip) => self.broken(&format!("a skip: {skip:?}")),
            DeliveryFrame::Rewind { handle, to } => {
                let lane = lane_of(handle)?;
                self.lanes[lane].sent = Some(to);
                self.send_kept().await
            }
        }
    }

    /// Notes what must not be, and ends the connection.
    fn broken(&self, text: &str) -> Option<()> {
        let text = format!("{}, session {}: {text}", self.device.id, self.number);
        self.world.history.add(FleetEntry::Broken(text));
        None
    }

    /// Announces the lanes in which there is something, then sends what was not sent.
    pub(crate) async fn send_kept(&mut self) -> Option<()> {
        for lane in 0..LANES.len() {
            self.send_lane(lane).await?;
        }
        Some(())
    }

    async fn send_lane(&mut self, lane: usize) -> Option<()> {
        let (stream, oldest, newest) = {
            let made = &self.device.memory.borrow().up[lane];
            (made.stream, made.acknowledged + 1, made.newest())
        };
        if !self.lanes[lane].is_announced && oldest <= newest {
            self.lanes[lane].is_announced = true;
            let resume = Resume { handle: handle(lane), lane: wire(lane), stream, oldest, newest };
            self.tell(&UpFrame::Delivery(DeliveryFrame::Resume(resume))).await?;
        }
        let credit_to = self.lanes[lane].credit_to;
        while let Some(sent) = self.lanes[lane].sent.filter(|it| *it < newest.min(credit_to)) {
            let sequence = sent + 1;
            let (tag, redelivered) = {
                let made = &mut self.device.memory.borrow_mut().up[lane];
                let redelivered = made.was_sent >= sequence;
                made.was_sent = made.was_sent.max(sequence);
                (made.tags[usize::try_from(sent).ok()?], redelivered)
            };
            let message = Sent { direction: Direction::Up, lane: LANES[lane], number: sequence };
            let term = Dialect::Bincode.keep_term(&Term::from(text(message)), &Limits::default());
            let content = Content::Term(term.unwrap());
            let (handle, sent_at_ms) = (handle(lane), None);
            let kept = Kept { handle, sequence, tag, sent_at_ms, redelivered, content };
            self.tell(&UpFrame::Delivery(DeliveryFrame::Kept(kept))).await?;
            self.lanes[lane].sent = Some(sequence);
        }
        Some(())
    }

    async fn on_ack(&mut self, ack: &Ack) -> Option<()> {
        let lane = lane_of(ack.handle)?;
        if !ack.rejected.is_empty() {
            return self.broken(&format!("rejected: {ack:?}"));
        }
        if !self.is_established {
            self.is_established = true;
            let (device, session) = (self.device.number, self.number);
            self.world.history.add(FleetEntry::Established { device, session });
        }
        let known = self.device.memory.borrow().up[lane].acknowledged;
        if ack.up_to < known && self.is_newest {
            return self.broken(&format!("set back from {known}: {ack:?}"));
        }
        self.device.acknowledge(lane, ack.up_to, self.number, &self.world.history);
        let up = &mut self.lanes[lane];
        up.sent = up.sent.max(Some(ack.up_to));
        up.credit_to = up.credit_to.max(ack.credit_to);
        self.send_lane(lane).await
    }

    async fn on_resume(&mut self, resume: &Resume) -> Option<()> {
        let Resume { handle, oldest, stream, .. } = *resume;
        let lane = index(resume.lane);
        self.handles.retain(|(known, _)| *known != handle);
        self.handles.push((handle, lane));
        if !self.is_newest {
            return Some(());
        }
        let known = self.device.memory.borrow().taken[lane].filter(|it| it.stream == stream);
        if known.is_some_and(|known| known.up_to + 1 < oldest) {
            let up_to = known.map(|it| it.up_to);
            return self.broken(&format!("messages are missing after {up_to:?}: {resume:?}"));
        }
        let new = Position { stream, up_to: oldest - 1, tag: Tag(0) };
        self.take(handle, lane, known.unwrap_or(new)).await
    }

    async fn on_kept(&mut self, kept: Kept) -> Option<()> {
        let Some((_, lane)) = self.handles.iter().find(|(it, _)| *it == kept.handle).copied()
        else {
            return self.broken("a message of a stream that was not announced");
        };
        let Content::Raw(bytes) = &kept.content else { return self.broken("a term") };
        let content = String::from_utf8_lossy(bytes);
        let Some(message) = parse(Direction::Down, &content) else {
            return self.broken(&format!("not sent by anyone: {content}"));
        };
        let (device, session) = (self.device.number, self.number);
        self.world.history.add(FleetEntry::HandedOver { device, session, message });
        // The device has gone over to a newer session.
        if !self.is_newest {
            return Some(());
        }
        let known = self.device.memory.borrow().taken[lane];
        let Some(known) = known.filter(|known| known.up_to + 1 == kept.sequence) else {
            let known = known.map(|known| known.up_to);
            return self.broken(&format!("{} after {known:?}", kept.sequence));
        };
        self.device.inbox.receive(message, Some(kept.tag.to_string()), kept.redelivered);
        let position = Position { up_to: kept.sequence, tag: kept.tag, ..known };
        self.take(kept.handle, lane, position).await
    }

    /// Notes the position, and acknowledges it.
    async fn take(&mut self, handle: u64, lane: usize, position: Position) -> Option<()> {
        self.device.memory.borrow_mut().taken[lane] = Some(position);
        let Position { up_to, tag, .. } = position;
        let (credit_to, credit_bytes) = (up_to + CREDIT.0, CREDIT.1);
        let ack = Ack { handle, up_to, tag, credit_to, credit_bytes, rejected: Vec::new() };
        self.tell(&UpFrame::Delivery(DeliveryFrame::Ack(ack))).await
    }
}

fn handle(lane: usize) -> u64 {
    lane as u64 + 1
}

fn lane_of(handle: u64) -> Option<usize> {
    usize::try_from(handle).ok()?.checked_sub(1).filter(|lane| *lane < LANES.len())
}

fn wire(lane: usize) -> Lane {
    match LANES[lane] {
        history::Lane::Normal => Lane::Normal,
        history::Lane::Urgent => Lane::Urgent,
    }
}

fn index(lane: Lane) -> usize {
    match lane {
        Lane::Normal => 0,
        Lane::Urgent => 1,
    }
}
