//! Kept messages for the device: calls the store, and sends what it has as far as the socket takes it.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use fedecks_protocol::{
    CloseCode, CloseReason, Content, DeliveryFrame, DownFrame, Kept, Lane, Skip,
};
use fedecks_store::{DownEntry, DownMessage, StoreError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Driver;
use super::asked::Known;
use crate::connection::mailbox::CloseCommand;
use crate::handler::Handler;
use crate::session::end::EndReason;
use crate::session::moment::Moment;
use crate::session::outbound::{Called, Caller, Fetched, Outbound, OutboundLane};
use crate::session::traffic::RETRY;

impl<H: Handler, S: AsyncRead + AsyncWrite + Unpin> Driver<'_, H, S> {
    /// There may be messages in the store for the device; `is_woken` says that one was queued just now.
    pub(super) fn look_for_kept(&mut self, is_woken: bool) {
        let is_kept = self.context.hub.device_queue().is_some();
        if is_kept && self.device_takes.is_some_and(Known::kept_messages) {
            self.outbound.get_or_insert_with(|| Box::new(Outbound::new())).look(is_woken);
        }
    }

    /// An acknowledgement, or a request to repeat something. Returns any other frame.
    pub(super) fn on_receipt(
        &mut self,
        frame: DeliveryFrame,
    ) -> Result<Option<DeliveryFrame>, EndReason> {
        let Some(outbound) = &mut self.outbound else { return Ok(Some(frame)) };
        let taken = match frame {
            DeliveryFrame::Ack(ack) => outbound.on_ack(ack),
            DeliveryFrame::Rewind { handle, to } => outbound.on_rewind(handle, to),
            other => return Ok(Some(other)),
        };
        taken.map(|()| None).map_err(|violation| self.violation(&violation))
    }

    /// Continues the calls of the store, and sends what they bring. Returns whether the socket has room for more.
    pub(super) fn poll_down(&mut self, cx: &mut Context<'_>) -> bool {
        // So that what is done for a lane can use the session.
        let Some(mut outbound) = self.outbound.take() else { return !self.socket.is_congested() };
        let span = self.span();
        let _in_span = span.enter();
        for at in 0..outbound.lanes.len() {
            while self.poll_lane(cx, &mut outbound, at).is_some() {}
        }
        if !outbound.is_idle() {
            self.outbound = Some(outbound);
        }
        !self.socket.is_congested()
    }

    /// Makes a step of a lane, if one is possible.
    fn poll_lane(
        &mut self,
        cx: &mut Context<'_>,
        outbound: &mut Outbound,
        at: usize,
    ) -> Option<()> {
        let room = !self.socket.is_congested();
        let lane = outbound.lanes.get_mut(at)?;
        let called = match &mut lane.call {
            Some(call) => match call.as_mut().poll(cx) {
                Poll::Ready(called) => called,
                Poll::Pending => return None,
            },
            None => {
                let next = lane.next(room, Instant::now())?;
                let caller = Caller::new(&self.context.hub, self.session.device())?;
                lane.call = Some(caller.call(lane.lane(), next));
                return Some(());
            }
        };
        lane.call = None;
        if at > 0 {
            // The store answers several calls at once: what has become ready of the urgent lane goes first.
            while self.poll_lane(cx, outbound, 0).is_some() {}
        }
        self.on_called(called, outbound, at);
        Some(())
    }

    fn on_called(&mut self, called: Called, outbound: &mut Outbound, at: usize) {
        let now = Instant::now();
        let mut handle = outbound.unused_handle();
        let Some(lane) = outbound.lanes.get_mut(at) else { return };
        match called {
            Called::Peeked(Ok(window)) => match lane.peeked(window, handle) {
                Some(Some(resume)) => {
                    self.send_delivery(resume);
                    handle += 1;
                }
                Some(None) => {}
                None => self.end_by(CloseReason::retry_after(CloseCode::Overloaded, RESTART)),
            },
            Called::Acknowledged(acknowledgement, Ok(answer)) => {
                lane.acknowledged(&acknowledgement, &answer);
            }
            Called::Renumbered(Ok(_)) => lane.renumbered(),
            Called::Fetched(Fetched { after, window: Ok(window), _memory }) => {
                let entries = lane.fetched(after, window);
                entries.into_iter().for_each(|entry| self.send_entry(lane, entry));
            }
            Called::NoRoom => {
                let wait = if lane.lane() == Lane::Urgent { RETRY } else { NO_ROOM };
                lane.postpone(None, now, wait);
            }
            Called::Panicked => {
                self.context.hub.counters().handler_failures.fetch_add(1, Ordering::Relaxed);
                self.end_by(CloseReason::new(CloseCode::InternalError));
            }
            Called::Acknowledged(acknowledgement, Err(error)) => {
                retry(lane, Some(acknowledgement), &error, now);
            }
            Called::Peeked(Err(error))
            | Called::Renumbered(Err(error))
            | Called::Fetched(Fetched { window: Err(error), .. }) => {
                retry(lane, None, &error, now);
            }
        }
        outbound.set_unused_handle(handle);
    }

    fn send_entry(&mut self, lane: &mut OutboundLane, entry: DownEntry) {
        let handle = lane.handle();
        let DownMessage { sequence, id, raw, body, at, redelivered } = match entry {
            DownEntry::Message(message) => message,
            DownEntry::Void { from, to, reason } => {
                return self.send_delivery(DeliveryFrame::Skip(Skip { handle, from, to, reason }));
            }
        };
        let sent_at_ms = Some(at.saturating_mul(1000)).filter(|ms| *ms > 0);
        let limits = self.limits();
        let content = if raw {
            Some(Content::Raw(body.to_vec()))
        } else {
            self.dialect().check_term(&body, &limits).map(Content::Term).ok()
        };
        let frame = content.and_then(|content| {
            let kept = Kept { handle, sequence, tag: id, sent_at_ms, redelivered, content };
            let frame = DownFrame::Delivery(DeliveryFrame::Kept(kept));
            self.dialect().encode_down(&frame, &limits).ok()
        });
        let Some(frame) = frame else {
            tracing::error!(message = %id, "cannot send a kept message, it exceeds the limits");
            let skip = lane.void(sequence);
            return self.send_delivery(skip);
        };
        let counters = self.context.hub.counters();
        counters.kept_sent.fetch_add(1, Ordering::Relaxed);
        counters.kept_sent_again.fetch_add(redelivered.into(), Ordering::Relaxed);
        self.send_message(Ok(frame));
    }

    fn send_delivery(&mut self, frame: DeliveryFrame) {
        self.send(self.dialect().encode_down(&DownFrame::Delivery(frame), &self.limits()));
    }

    fn end_by(&self, reason: CloseReason) {
        self.session.connection_handle().mailbox.end_session(CloseCommand::Close(reason));
    }

    /// When a call of the store is repeated.
    pub(super) fn down_due(&self) -> Option<Moment> {
        let lanes = self.outbound.as_ref()?.lanes.iter();
        let retry_at = lanes.filter_map(OutboundLane::retry_at).min()?;
        Some(self.context.traffic.moment(retry_at))
    }
}

impl<H, S> Driver<'_, H, S> {
    /// The store learns what the device has acknowledged although the session has ended.
    pub(super) fn store_last_receipts(&mut self) {
        let Some(outbound) = &mut self.outbound else { return };
        for lane in &mut outbound.lanes {
            let caller = Caller::new(&self.context.hub, self.session.device());
            if let (Some(last), Some(caller)) = (lane.last(), caller) {
                caller.acknowledge_at_end(lane.lane(), last);
            }
        }
    }
}

/// How long the lane normal waits for memory. Longer than the other one, since a whole fleet may wait.
const NO_ROOM: std::time::Duration = std::time::Duration::from_secs(1);

/// How long a device stays away whose streams cannot be announced any more on this connection.
const RESTART: std::time::Duration = std::time::Duration::from_secs(1);

fn retry(
    lane: &mut OutboundLane,
    acknowledgement: Option<fedecks_store::Acknowledgement>,
    error: &StoreError,
    now: Instant,
) {
    let retry_in = lane.failed(acknowledgement, now);
    tracing::warn!(%error, ?retry_in, "the store fails for kept messages to the device");
}
