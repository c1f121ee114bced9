//! The inputs of [`Connection`] for kept messages from the cloud, and how a session handles their frames.

use fedecks_delivery::{Outcome, Violation};
use fedecks_protocol::{Capabilities, DeliveryFrame, UpFrame};

use super::next::Next;
use super::session::Session;
use super::shared::Shared;
use super::{Connection, Link};
use crate::action::{Notice, UnexpectedFrame};
use crate::delivery::{DeliveryKey, InboxStatus, Positions};
use crate::time::Time;

impl Connection {
    /// The positions that an [`Action::StorePositions`](crate::Action::StorePositions) of an earlier run stored. To be
    /// called before anything else.
    pub fn restore_positions(&mut self, positions: &Positions) {
        self.shared.inbox.restore(positions);
    }

    /// Handles what the application did with a message that it got by
    /// [`Action::DeliverKept`](crate::Action::DeliverKept), with a connection or without. The first call for a message
    /// counts.
    pub fn handle_acknowledge(&mut self, now: Time, key: DeliveryKey, outcome: Outcome) {
        self.check_suspend(now);
        let cx = &mut self.shared;
        cx.inbox.acknowledge(now, key, outcome, &mut cx.out);
        if let Link::Connected(it) = &mut self.link {
            it.send_acks(now, cx);
        }
    }

    /// What the application has and has not acknowledged.
    pub fn inbox(&self) -> InboxStatus {
        self.shared.inbox.status()
    }
}

impl Session {
    pub(super) fn on_inbound(
        &mut self,
        now: Time,
        frame: DeliveryFrame,
        cx: &mut Shared,
    ) -> Result<(), Violation> {
        if !self.takes(Capabilities::KEPT_MESSAGES) {
            cx.log(Notice::UnexpectedFrame(UnexpectedFrame::Kept));
            return Ok(());
        }
        cx.inbox.on_frame(now, frame, &mut cx.out)?;
        self.send_acks(now, cx);
        Ok(())
    }

    /// A frame cannot be decoded. A kept message with such a content is rejected.
    pub(super) fn on_undecodable_kept(
        &mut self,
        now: Time,
        bytes: &[u8],
        cx: &mut Shared,
    ) -> Option<Next> {
        let kept = cx.config.dialect.kept_without_content(bytes, &cx.config.limits)?;
        if !self.takes(Capabilities::KEPT_MESSAGES) {
            return None;
        }
        let result = cx.inbox.reject(now, &kept, &mut cx.out);
        self.send_acks(now, cx);
        result.err().map(|violation| self.on_violation(now, violation, cx))
    }

    /// Sends the acknowledgements that are due.
    pub(super) fn send_acks(&mut self, now: Time, cx: &mut Shared) {
        while let Some(frame) = cx.inbox.poll_ack(now, &mut cx.out) {
            self.transmit_frame(now, &UpFrame::Delivery(frame), cx);
        }
    }
}
