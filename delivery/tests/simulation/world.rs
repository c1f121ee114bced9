//! A sender with its queue on disk, sessions of a receiver with its store, and the frames on their way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use fedecks_delivery::{
    Credit, Entry, Message, Outcome, Position, Receiver, Sender, Settled, Transmit, Violation,
};
use fedecks_protocol::{Ack, Lane, Resume, Skip, SkipReason, StreamId, Tag};

use crate::ledger::Ledger;
use crate::parts::{Action, Down, Handed, Saved, Session, Up};

type Store = BTreeMap<StreamId, (Lane, Position)>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// Like a device: no start appends to a stream of an earlier one. Otherwise like the cloud.
    renews: bool,
    sender: Sender<u64>,
    disk: Vec<Saved>,
    /// The streams that messages are appended to.
    current: Vec<(Lane, StreamId)>,
    copy: Option<(Vec<Saved>, BTreeSet<u64>)>,
    store: Store,
    store_copy: Store,
    fence: u64,
    /// The newest session that has read the positions: an older one cannot write any more.
    store_fence: u64,
    /// The last one is that of the sender.
    sessions: Vec<Session>,
    is_connected: bool,
    streams: u8,
    messages: u64,
    pub(crate) ledger: Ledger,
}

const FINISH: [Action; 5] =
    [Action::Transmit, Action::Arrive(0), Action::Store(0), Action::Acknowledge(0), Action::Answer];

impl World {
    pub(crate) fn new(renews: bool) -> Self {
        Self {
            renews,
            sender: Sender::default(),
            disk: Vec::new(),
            current: Vec::new(),
            copy: None,
            store: Store::new(),
            store_copy: Store::new(),
            fence: 0,
            store_fence: 0,
            sessions: Vec::new(),
            is_connected: false,
            streams: 0,
            messages: 0,
            ledger: Ledger::default(),
        }
    }

    /// False if there was nothing to do.
    pub(crate) fn apply(&mut self, action: Action) -> bool {
        match action {
            Action::Accept(lane) => return self.accept(lane),
            Action::Transmit => return self.transmit(),
            Action::Arrive(at) => return self.arrive(at),
            Action::Store(at) => return self.store(at),
            Action::Acknowledge(at) => return self.acknowledge(at),
            Action::Answer => return self.answer(),
            Action::Connect => self.connect(),
            Action::EndOlder => {
                if self.sessions.len() < 2 {
                    return false;
                }
                self.sessions.remove(0);
            }
            Action::CutUp | Action::CutDown => {
                let Some(it) = self.sessions.last_mut() else { return false };
                if action == Action::CutUp {
                    it.cut_up = true;
                    it.up.clear();
                } else {
                    it.cut_down = true;
                    it.down.clear();
                }
            }
            Action::KillSender => self.start_sender(),
            Action::KillReceiver => self.sessions.clear(),
            Action::BackUpSender => self.copy = Some((self.disk.clone(), self.ledger_tags())),
            Action::RestoreSender => {
                let Some((disk, tags)) = self.copy.clone() else { return false };
                self.disk = disk;
                self.ledger.forgotten(&tags);
                self.start_sender();
            }
            Action::BackUpReceiver => self.store_copy = self.store.clone(),
            Action::RestoreReceiver | Action::WipeReceiver => {
                self.ledger.receiver_set_back = true;
                self.sessions.clear();
                let is_wiped = action == Action::WipeReceiver;
                self.store = if is_wiped { Store::new() } else { self.store_copy.clone() };
            }
            Action::Expire(now) => {
                let lost = self.sender.expire(Duration::from_secs(now));
                return self.voided(&lost);
            }
            Action::Cancel(tag) => {
                if !self.sender.cancel(Tag(tag)) {
                    return false;
                }
                self.voided(&[(Tag(tag), Settled::Voided(SkipReason::Cancelled))]);
            }
            Action::DropOldest(lane) => {
                let lost = self.sender.drop_oldest(lane, 150, 10);
                return self.voided(&lost);
            }
            Action::Rewind(at) => return self.rewind(at),
        }
        true
    }

    pub(crate) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    fn ledger_tags(&self) -> BTreeSet<u64> {
        (1..=self.messages).collect()
    }

    fn fresh(&mut self) -> StreamId {
        self.streams = self.streams.wrapping_add(1);
        let mut id = [self.streams; 16];
        id[..8].copy_from_slice(&self.messages.to_be_bytes());
        id[8..12].copy_from_slice(&u32::try_from(self.fence).unwrap().to_be_bytes());
        StreamId(id)
    }

    fn accept(&mut self, lane: Lane) -> bool {
        let known = self.current.iter().find(|(known, _)| *known == lane).map(|(_, id)| *id);
        let stream = known.unwrap_or_else(|| self.fresh());
        if known.is_none() {
            if !self.sender.open(lane, stream, (1, 0, 0)) {
                return false;
            }
            self.current.push((lane, stream));
            let entries = VecDeque::new();
            self.disk.push(Saved { lane, stream, first: 1, entries, tried: 0 });
        }
        let tag = self.messages + 1;
        if self.sender.append(stream, message(tag, false)).is_none() {
            return false;
        }
        self.messages = tag;
        self.ledger.accepted(tag);
        let saved = self.disk.iter_mut().find(|it| it.stream == stream).unwrap();
        saved.entries.push_back(Some((tag, false)));
        true
    }

    fn transmit(&mut self) -> bool {
        let Some(next) = self.sender.poll_transmit() else { return false };
        let frame = match next {
            Transmit::Resume(it) => Up::Resume(it.handle, it.lane, it.stream, it.oldest, it.newest),
            Transmit::Message { handle, sequence, message } => {
                // That it may have been sent is durable before it is.
                let holds =
                    |it: &&mut Saved| it.entries.iter().flatten().any(|e| e.0 == message.body);
                let saved = self.disk.iter_mut().find(holds).unwrap();
                saved.tried = saved.tried.max(sequence);
                Up::Kept(handle, sequence, message.body, message.redelivered)
            }
            Transmit::Skip(it) => Up::Skip(it.handle, it.from, it.to),
            Transmit::Close { handle } => Up::Close(handle),
        };
        self.send_up(frame);
        true
    }

    fn send_up(&mut self, frame: Up) {
        let is_connected = self.is_connected;
        if let Some(it) = self.sessions.last_mut().filter(|it| is_connected && !it.cut_up) {
            it.up.push_back(frame);
        }
    }

    fn connect(&mut self) {
        if self.sessions.len() > 1 {
            self.sessions.remove(0);
        }
        self.fence += 1;
        self.sender.connect();
        self.is_connected = true;
        self.sessions.push(Session {
            receiver: Receiver::new(Credit::MAX),
            is_loaded: false,
            fence: self.fence,
            up: VecDeque::new(),
            down: VecDeque::new(),
            handed: VecDeque::new(),
            cut_up: false,
            cut_down: false,
        });
    }

    /// What the receiver finds wrong with frames of a sender that keeps the rules is a failure of one of both.
    fn check<T>(&mut self, result: Result<T, Violation>) -> Option<T> {
        result.map_err(|violation| self.ledger.fail(violation.to_string())).ok()
    }

    fn arrive(&mut self, at: usize) -> bool {
        let Some(it) = self.sessions.get_mut(at) else { return false };
        let Some(frame) = it.up.pop_front() else { return false };
        if it.fence < self.store_fence {
            self.sessions.remove(at);
            return true;
        }
        match frame {
            Up::Resume(handle, lane, stream, oldest, newest) => {
                if !std::mem::replace(&mut it.is_loaded, true) {
                    self.store_fence = it.fence;
                    for (stream, (lane, position)) in &self.store {
                        it.receiver.restore(*stream, *lane, *position);
                    }
                }
                let resume = Resume { handle, lane, stream, oldest, newest };
                let gap = it.receiver.on_resume(&resume);
                if let Ok(Some(gap)) = &gap {
                    let (from, to) = (gap.advance.from, gap.advance.to);
                    it.handed.push_back(Handed { handle, stream, lane, from, to, is_gap: true });
                    if gap.is_known && !self.ledger.is_set_back() {
                        self.ledger.fail(format!("a gap {gap:?}"));
                    }
                }
                self.check(gap);
            }
            Up::Kept(handle, sequence, tag, redelivered) => {
                let takes = it.receiver.on_message(handle, (sequence, Tag(tag), 100));
                if takes == Ok(true) {
                    let (stream, lane) = it.receiver.stream(handle).unwrap();
                    let (from, to) = (sequence - 1, Position { up_to: sequence, tag: Tag(tag) });
                    it.handed.push_back(Handed { handle, stream, lane, from, to, is_gap: false });
                    if it.handed.len() > 100 {
                        self.ledger.fail("more than the credit is pending".into());
                    }
                    self.ledger.handed(tag, redelivered);
                }
                self.check(takes);
            }
            Up::Skip(handle, from, to) => {
                let takes =
                    it.receiver.on_skip(&Skip { handle, from, to, reason: SkipReason::Expired });
                if takes == Ok(true) {
                    let (stream, lane) = it.receiver.stream(handle).unwrap();
                    let (from, to) = (from - 1, Position { up_to: to, tag: Tag(0) });
                    it.handed.push_back(Handed { handle, stream, lane, from, to, is_gap: false });
                }
                self.check(takes);
            }
            Up::Close(handle) => {
                let closed = it.receiver.on_close(handle);
                if let Some(stream) = self.check(closed) {
                    self.store.remove(&stream);
                }
            }
        }
        true
    }

    fn store(&mut self, at: usize) -> bool {
        let Some(it) = self.sessions.get_mut(at) else { return false };
        let Some(handed) = it.handed.pop_front() else { return false };
        let Handed { handle, stream, lane, from, to, is_gap } = handed;
        let stored = self.store.get(&stream).map_or(0, |(_, position)| position.up_to);
        let is_newest = it.fence >= self.store_fence;
        if stored != from || !is_newest {
            // It is stale: its transaction is undone, and it ends.
            self.sessions.remove(at);
            return true;
        }
        self.store.insert(stream, (lane, to));
        let is_rejected = to.tag.0 % 3 == 2;
        if !is_gap {
            let outcome = if is_rejected { Outcome::Rejected } else { Outcome::Processed };
            it.receiver.done(handle, to.up_to, outcome, Duration::ZERO);
            match to.tag.0 {
                0 => self.ledger.skipped += to.up_to - from,
                tag => self.ledger.taken(stream, tag, is_rejected),
            }
        }
        true
    }

    fn acknowledge(&mut self, at: usize) -> bool {
        let Some(it) = self.sessions.get_mut(at) else { return false };
        let Some(ack) = it.receiver.poll_ack(Duration::from_secs(9)) else { return false };
        if !it.cut_down {
            let position = Position { up_to: ack.up_to, tag: ack.tag };
            it.down.push_back(Down::Ack(
                ack.handle,
                position,
                ack.credit_to,
                ack.credit_bytes,
                ack.rejected,
            ));
        }
        true
    }

    fn rewind(&mut self, at: usize) -> bool {
        let Some(it) = self.sessions.get_mut(at) else { return false };
        let Some(handle) = it.handed.front().filter(|it| !it.is_gap).map(|it| it.handle) else {
            return false;
        };
        let Some(to) = it.receiver.rewind(handle) else { return false };
        it.handed.retain(|it| it.handle != handle);
        if !it.cut_down {
            it.down.push_back(Down::Rewind(handle, to));
        }
        true
    }

    fn answer(&mut self) -> bool {
        let is_connected = self.is_connected;
        let Some(it) = self.sessions.last_mut().filter(|_| is_connected) else { return false };
        match it.down.pop_front() {
            None => return false,
            Some(Down::Rewind(handle, to)) => {
                let result = self.sender.on_rewind(handle, to);
                self.check(result);
            }
            Some(Down::Ack(handle, position, credit_to, credit_bytes, rejected)) => {
                let Position { up_to, tag } = position;
                let ack = Ack { handle, up_to, tag, credit_to, credit_bytes, rejected };
                self.acknowledged(&ack);
            }
        }
        true
    }

    fn acknowledged(&mut self, ack: &Ack) {
        let fresh = self.fresh();
        let result = self.sender.on_ack(ack, fresh);
        let Some(acked) = self.check(result) else { return };
        for (tag, settled) in acked.settled {
            self.ledger.told(tag, settled);
        }
        let saved = self.disk.iter_mut().find(|it| Some(it.stream) == acked.stream);
        if let (Some(saved), Some(new)) = (saved, acked.renumbered) {
            if !self.ledger.is_set_back() {
                self.ledger.fail(format!("{new:?}"));
            }
            let tried = saved.tried.max(ack.up_to);
            let numbered = (saved.first..).zip(std::mem::take(&mut saved.entries));
            let kept = numbered.filter_map(|(number, entry)| {
                entry.map(|(tag, again)| Some((tag, again || number <= tried)))
            });
            saved.entries = kept.collect();
            (saved.stream, saved.first, saved.tried) = (new.to, 1, 0);
            for (_, stream) in self.current.iter_mut().filter(|(_, stream)| *stream == new.from) {
                *stream = new.to;
            }
        } else if let Some(saved) = self.disk.iter_mut().find(|it| Some(it.stream) == acked.stream)
        {
            while saved.first <= ack.up_to && saved.entries.pop_front().is_some() {
                saved.first += 1;
            }
        }
        let current: Vec<_> = self.current.iter().map(|(_, stream)| *stream).collect();
        for (stream, close) in self.sender.close_finished(&current) {
            self.disk.retain(|it| it.stream != stream);
            if let Some(Transmit::Close { handle }) = close {
                self.send_up(Up::Close(handle));
            }
        }
    }

    fn voided(&mut self, lost: &[(Tag, Settled)]) -> bool {
        for (tag, settled) in lost {
            self.ledger.told(*tag, *settled);
            let entries = self.disk.iter_mut().flat_map(|it| &mut it.entries);
            entries.filter(|it| it.is_some_and(|it| it.0 == tag.0)).for_each(|it| *it = None);
        }
        !lost.is_empty()
    }

    fn start_sender(&mut self) {
        self.sender = Sender::default();
        self.is_connected = false;
        self.current.clear();
        for saved in &mut self.disk {
            let newest = saved.first + saved.entries.len() as u64 - 1;
            let tried = if self.renews { newest } else { saved.tried };
            self.sender.open(saved.lane, saved.stream, (saved.first, newest, tried));
            for (number, entry) in (saved.first..).zip(&saved.entries) {
                let entry = match entry {
                    Some((tag, again)) => Entry::Message(message(*tag, *again)),
                    None => Entry::Void(SkipReason::Expired),
                };
                self.sender.load(saved.stream, number, entry);
            }
            if !self.renews {
                self.current.push((saved.lane, saved.stream));
            }
        }
    }

    /// Lets both ends finish on a link without faults, and checks that nothing is missing.
    pub(crate) fn finish(&mut self) {
        for _ in 0..4 {
            self.sessions.clear();
            self.connect();
            let mut more = true;
            while more {
                more = false;
                for action in FINISH {
                    more |= self.apply(action);
                }
            }
        }
        if self.sender.waiting().messages > 0 {
            self.ledger.fail(format!("{:?} are stuck", self.sender.waiting()));
        }
        self.ledger.finish();
    }
}

fn message(tag: u64, redelivered: bool) -> Message<u64> {
    let expires_at = (tag % 4 == 1).then(|| Duration::from_secs(tag));
    Message { tag: Tag(tag), size: 100, sent_at_ms: None, expires_at, redelivered, body: tag }
}
