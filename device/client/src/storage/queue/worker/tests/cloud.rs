//! A cloud whose effects and positions are one transaction, and the frames on their way to it.

use std::collections::VecDeque;
use std::time::Duration;

use fedecks_delivery::{Credit, Outcome, Position, Receiver};
use fedecks_protocol::{Ack, DeliveryFrame, Lane, SkipReason, StreamId, Tag};

#[derive(Default)]
pub(super) struct Cloud {
    /// The one that was used last is the last.
    positions: Vec<(StreamId, Lane, Position)>,
    /// What was handed over, in this order.
    pub(super) handed: Vec<(StreamId, Tag, bool)>,
    pub(super) skipped: Vec<SkipReason>,
    pub(super) closed: u64,
    session: Option<Receiver>,
    pub(super) up: VecDeque<DeliveryFrame>,
}

impl Cloud {
    pub(super) fn connect(&mut self) {
        let mut receiver = Receiver::new(Credit::MAX);
        for (stream, lane, position) in &self.positions {
            receiver.restore(*stream, *lane, *position);
        }
        self.session = Some(receiver);
        self.up.clear();
    }

    pub(super) fn disconnect(&mut self) {
        self.session = None;
        self.up.clear();
    }

    /// Reads one frame. False if there is none.
    pub(super) fn read(&mut self) -> bool {
        let (Some(receiver), Some(frame)) = (&mut self.session, self.up.pop_front()) else {
            return false;
        };
        match frame {
            DeliveryFrame::Resume(resume) => {
                // What was dropped on a full disk may leave no trace there. The cloud notices.
                receiver.on_resume(&resume).expect("a valid resume");
            }
            DeliveryFrame::Kept(kept) => {
                let (handle, sequence) = (kept.handle, kept.sequence);
                let size = kept.content.size() as u64;
                if receiver.on_message(handle, (sequence, kept.tag, size)).expect("in order") {
                    let (stream, _) = receiver.stream(handle).expect("a stream");
                    self.handed.push((stream, kept.tag, kept.redelivered));
                    receiver.done(handle, sequence, Outcome::Processed, Duration::ZERO);
                }
            }
            DeliveryFrame::Skip(skip) => {
                if receiver.on_skip(&skip).expect("in order") {
                    self.skipped.push(skip.reason);
                    receiver.done(skip.handle, skip.to, Outcome::Processed, Duration::ZERO);
                }
            }
            DeliveryFrame::Close { handle } => {
                receiver.on_close(handle).expect("a known stream");
                self.closed += 1;
            }
            frame => panic!("{frame:?}"),
        }
        self.positions = receiver.positions().collect();
        true
    }

    /// An acknowledgement that is due.
    pub(super) fn ack(&mut self) -> Option<Ack> {
        self.session.as_mut()?.poll_ack(Duration::from_secs(9))
    }
}
