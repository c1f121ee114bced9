//! What is known about kept messages and confirmed ones: each is answered once, and settled once.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for a few kinds")]

use std::collections::{HashSet, VecDeque};

use fedecks_device_core::{
    Action, Connection, DeliveryKey, Outcome, Outgoing, SendId, Settled, Time,
};
use fedecks_protocol::Tag;

/// How much memory kept messages may take, in bytes: a few messages.
pub(crate) const KEEP_BYTES: u64 = 8 * 1024;

#[derive(Default)]
pub(crate) struct Kept {
    /// Accepted, and not settled.
    waiting: HashSet<Tag>,
    /// Whether there ever was one: then a deadline may be left of it.
    pub(crate) any: bool,
    /// How many are settled without having been delivered.
    lost: u64,
    last_send: u64,
    /// Sent to be confirmed, and not answered.
    unconfirmed: HashSet<SendId>,
    /// What the application has and has not acknowledged.
    delivered: VecDeque<DeliveryKey>,
}

impl Kept {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The id of a message that is to be confirmed. None has been used before, not even for one that is not.
    pub(crate) fn next_send(&mut self) -> SendId {
        self.last_send += 1;
        let id = SendId(1_000 + self.last_send);
        self.unconfirmed.insert(id);
        id
    }

    /// Acknowledges the oldest message that the application has.
    pub(crate) fn acknowledge(&mut self, core: &mut Connection, now: Time, outcome: Outcome) {
        if let Some(key) = self.delivered.pop_front() {
            core.handle_acknowledge(now, key, outcome);
        }
    }

    pub(crate) fn watch(&mut self, action: &Action) {
        match action {
            Action::AnswerKeep { result: Ok(tag), .. } => {
                self.any = true;
                assert!(self.waiting.insert(*tag), "{tag} is kept twice");
            }
            Action::Settle { tag, settled } => {
                assert!(self.waiting.remove(tag), "{tag} is not kept, or was settled before");
                self.lost += u64::from(*settled != Settled::Delivered);
            }
            Action::AnswerSend { send, .. } if send.0 > 1_000 => {
                assert!(self.unconfirmed.remove(send), "{send:?} was answered before");
            }
            Action::DeliverKept(delivery) => {
                assert!(!self.delivered.contains(&delivery.key), "{delivery:?} comes twice");
                self.delivered.push_back(delivery.key);
            }
            _ => {}
        }
    }

    /// Nothing that waits is forgotten, and nothing waits for a connection that has ended.
    pub(crate) fn check(&self, core: &Connection, is_connected: bool) {
        let queue = core.queue();
        assert_eq!(core.inbox().messages, self.delivered.len() as u64, "lost without notice");
        assert_eq!(queue.messages, self.waiting.len() as u64, "lost without notice");
        assert_eq!(queue.lost, self.lost);
        assert!(queue.bytes <= KEEP_BYTES, "{queue:?}");
        assert!(is_connected || self.unconfirmed.is_empty(), "unanswered: {:?}", self.unconfirmed);
    }
}

/// Whether an input can cause any number of these, because any number of messages or requests wait for them.
pub(crate) fn is_one_of_many(action: &Action) -> bool {
    match action {
        Action::AnswerLogout { .. } | Action::AnswerSend { .. } | Action::Settle { .. } => true,
        Action::AnswerRequest { .. } | Action::CancelRequest { .. } => true,
        Action::Transmit { message, .. } => matches!(message, Outgoing::Frame(_)),
        _ => false,
    }
}
