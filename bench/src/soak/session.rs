//! One connection of a device: it answers questions, and takes and sends kept messages.

use std::collections::VecDeque;

use fastrand::Rng;
use fedecks_protocol::{
    Ack, Capabilities, Content, DeliveryFrame, Dialect, DownFrame, Kept, Lane, Limits,
    RequestFrame, Resume, Skip, StreamId, Tag, Term, UpFrame,
};

use super::tally::{Count, Tally};
use crate::client::{Client, Heard};
use crate::error::Result;

/// How many bytes a message has.
const PAYLOAD: usize = 100;

/// The only stream of a device has this handle on every connection.
const HANDLE: u64 = 1;

/// The most that a cloud sends before an acknowledgement.
const CREDIT: (u64, u64) = (64, 256 * 1024);

/// What a device keeps over its connections.
pub(super) struct Memory {
    /// The messages that are not acknowledged, with consecutive numbers up to `made`.
    unacknowledged: VecDeque<Made>,
    made: u64,
    stream: StreamId,
    /// What it has taken, of each lane.
    taken: Vec<(Lane, Position)>,
}

struct Made {
    tag: Tag,
    /// On an earlier connection.
    was_sent: bool,
}

#[derive(Clone, Copy)]
struct Position {
    stream: StreamId,
    up_to: u64,
    tag: Tag,
}

impl Memory {
    pub(super) fn new(random: &mut Rng) -> Self {
        let stream = StreamId(random.u128(..).to_ne_bytes());
        Self { unacknowledged: VecDeque::new(), made: 0, stream, taken: Vec::new() }
    }

    /// Makes a message that is to be sent.
    pub(super) fn make(&mut self, random: &mut Rng) {
        self.made += 1;
        self.unacknowledged.push_back(Made { tag: Tag(random.u64(1..)), was_sent: false });
    }

    /// How many are not acknowledged.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.unacknowledged.len() as u64
    }

    fn oldest(&self) -> u64 {
        self.made - self.unacknowledged() + 1
    }
}

/// A connection.
pub(super) struct Session<'a> {
    pub(super) client: Client,
    memory: &'a mut Memory,
    tally: &'a Tally,
    is_announced: bool,
    /// The last number that was sent on this connection, once the server has told its position, and how far it
    /// may be sent.
    sent: Option<u64>,
    credit_to: u64,
    /// The lanes that the server has announced.
    handles: Vec<(u64, Lane)>,
}

impl<'a> Session<'a> {
    pub(super) async fn open(
        mut client: Client,
        memory: &'a mut Memory,
        tally: &'a Tally,
    ) -> Result<Self> {
        client.tell(&UpFrame::Hello(Capabilities::ALL)).await?;
        let (is_announced, sent, credit_to) = (false, None, 0);
        let handles = Vec::new();
        let mut session = Self { client, memory, tally, is_announced, sent, credit_to, handles };
        session.send_kept().await?;
        Ok(session)
    }

    /// Sends a message that is not kept.
    pub(super) async fn say(&mut self) -> Result<()> {
        self.client.say(Term::Bytes(vec![b'x'; PAYLOAD])).await?;
        self.tally.count(Count::MessagesSent);
        Ok(())
    }

    /// Makes a kept message, and sends it as soon as it may.
    pub(super) async fn keep(&mut self, random: &mut Rng) -> Result<()> {
        self.memory.make(random);
        self.tally.count(Count::KeptMade);
        self.send_kept().await
    }

    /// Handles what was heard; the code if the connection has ended.
    pub(super) async fn on(&mut self, heard: Heard) -> Result<Option<Option<u16>>> {
        match heard {
            Heard::End(code) => return Ok(Some(code)),
            // The session is alive while it waits, such as for the store.
            Heard::Frame(DownFrame::Alive(_)) => {}
            Heard::Pong => self.tally.count(Count::Pongs),
            Heard::Frame(DownFrame::Message { .. }) => self.tally.count(Count::MessagesReceived),
            Heard::Frame(DownFrame::Request(RequestFrame::Request {
                request, content, ..
            })) => {
                let reply = RequestFrame::Reply { request, content };
                self.client.tell(&UpFrame::Request(reply)).await?;
            }
            Heard::Frame(DownFrame::Request(RequestFrame::Cancel { .. })) => {}
            Heard::Frame(DownFrame::Delivery(frame)) => self.on_delivery(frame).await?,
            Heard::Frame(other) => return Err(format!("not expected: {other:?}").into()),
        }
        Ok(None)
    }

    async fn on_delivery(&mut self, frame: DeliveryFrame) -> Result<()> {
        match frame {
            DeliveryFrame::Ack(ack) => self.on_ack(&ack).await,
            DeliveryFrame::Resume(resume) => self.on_resume(&resume).await,
            DeliveryFrame::Kept(kept) => self.on_kept(&kept).await,
            DeliveryFrame::Close { handle } => {
                self.handles.retain(|(known, _)| *known != handle);
                Ok(())
            }
            DeliveryFrame::Skip(Skip { reason, .. }) => Err(format!("skipped: {reason:?}").into()),
            DeliveryFrame::Rewind { .. } => Err("asked to rewind".into()),
        }
    }

    /// Announces the stream if there is something in it, then sends what was not sent.
    async fn send_kept(&mut self) -> Result<()> {
        let (oldest, newest) = (self.memory.oldest(), self.memory.made);
        if !self.is_announced && oldest <= newest {
            self.is_announced = true;
            let (handle, lane, stream) = (HANDLE, Lane::Normal, self.memory.stream);
            let resume = Resume { handle, lane, stream, oldest, newest };
            self.client.tell(&UpFrame::Delivery(DeliveryFrame::Resume(resume))).await?;
        }
        while let Some(sent) = self.sent.filter(|sent| *sent < newest.min(self.credit_to)) {
            let sequence = sent + 1;
            let made = usize::try_from(sequence - oldest)?;
            let made = self.memory.unacknowledged.get_mut(made).ok_or("a number is missing")?;
            let (tag, redelivered) = (made.tag, made.was_sent);
            made.was_sent = true;
            let term = Term::Bytes(vec![b'x'; PAYLOAD]);
            let content = Content::Term(Dialect::Bincode.keep_term(&term, &Limits::default())?);
            let sent_at_ms = Some(1_800_000_000_000);
            let kept = Kept { handle: HANDLE, sequence, tag, sent_at_ms, redelivered, content };
            self.client.tell(&UpFrame::Delivery(DeliveryFrame::Kept(kept))).await?;
            self.sent = Some(sequence);
        }
        Ok(())
    }

    async fn on_ack(&mut self, ack: &Ack) -> Result<()> {
        if ack.up_to > self.memory.made || !ack.rejected.is_empty() {
            return Err(format!("of {} messages: {ack:?}", self.memory.made).into());
        }
        while self.memory.oldest() <= ack.up_to {
            self.memory.unacknowledged.pop_front();
            self.tally.count(Count::KeptAcknowledged);
        }
        if self.memory.oldest() > ack.up_to + 1 {
            return Err(format!("the server was set back: {ack:?}").into());
        }
        self.sent = self.sent.max(Some(ack.up_to));
        self.credit_to = ack.credit_to;
        self.send_kept().await
    }

    async fn on_resume(&mut self, resume: &Resume) -> Result<()> {
        let Resume { lane, handle, oldest, stream, .. } = *resume;
        self.handles.retain(|(known, _)| *known != handle);
        self.handles.push((handle, lane));
        let known = self.memory.taken.iter().find(|(known, _)| *known == lane);
        let known = known.map(|(_, position)| *position).filter(|known| known.stream == stream);
        if known.is_some_and(|known| known.up_to + 1 < oldest) {
            return Err(format!("messages are missing: {resume:?}").into());
        }
        let new = Position { stream, up_to: oldest - 1, tag: Tag(0) };
        self.take(handle, lane, known.unwrap_or(new)).await
    }

    async fn on_kept(&mut self, kept: &Kept) -> Result<()> {
        let lane = self.handles.iter().find(|(handle, _)| *handle == kept.handle);
        let (_, lane) = *lane.ok_or("a message of a stream that was not announced")?;
        let known = self.memory.taken.iter().find(|(known, _)| *known == lane);
        let (_, known) = *known.ok_or("a message of a lane that was not announced")?;
        if kept.sequence != known.up_to + 1 {
            return Err(format!("{} after {}", kept.sequence, known.up_to).into());
        }
        self.tally.count(Count::KeptTaken);
        if kept.redelivered {
            self.tally.count(Count::KeptAgain);
        }
        let position = Position { up_to: kept.sequence, tag: kept.tag, ..known };
        self.take(kept.handle, lane, position).await
    }

    /// Notes the position, and acknowledges it.
    async fn take(&mut self, handle: u64, lane: Lane, position: Position) -> Result<()> {
        self.memory.taken.retain(|(known, _)| *known != lane);
        self.memory.taken.push((lane, position));
        let Position { up_to, tag, .. } = position;
        let (credit_to, credit_bytes) = (up_to + CREDIT.0, CREDIT.1);
        let ack = Ack { handle, up_to, tag, credit_to, credit_bytes, rejected: Vec::new() };
        self.client.tell(&UpFrame::Delivery(DeliveryFrame::Ack(ack))).await?;
        Ok(())
    }
}
