//! Kept messages of the device: hands them to the handler, stores their effects, and acknowledges them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fedecks_delivery::Violation;
use fedecks_protocol::{CloseCode, CloseReason, Content, DeliveryFrame, DownFrame};
use fedecks_store::{StoreError, StreamPosition};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{Driver, Pending};
use crate::byte_pool::FREE;
use crate::handler::Handler;
use crate::handler::KeptOutcome;
use crate::messaging::kept::KeptContent;
use crate::session::callback::{Callback, Completed, timed};
use crate::session::end::EndReason;
use crate::session::error::SessionError;
use crate::session::inbound::{Arrival, Batch, Inbound};

impl<'a, H: Handler, S: AsyncRead + AsyncWrite + Unpin> Driver<'a, H, S> {
    pub(super) fn send_alive(&mut self, number: u64) {
        self.send(self.dialect().encode_down(&DownFrame::Alive(number), &self.limits()));
    }

    /// Handles a frame about kept messages.
    pub(super) fn on_delivery(
        &mut self,
        frame: DeliveryFrame,
        size: usize,
    ) -> Result<Option<Callback<'a>>, EndReason> {
        let (context, session) = (self.context, self.session);
        let Some(kept) = &context.kept else {
            return Err(violation("kept messages, which this cloud does not offer"));
        };
        let Self { inbound, traffic, .. } = self;
        let inbound = inbound.get_or_insert_with(|| Box::new(Inbound::new()));
        let decode = |content: Content| {
            if size > FREE {
                traffic.decoded(&context.traffic, content.weight());
            }
            match content {
                Content::Term(term) => term.decode().map(KeptContent::Term).ok(),
                Content::Raw(bytes) => Some(KeptContent::Raw(bytes)),
            }
        };
        let arrival = inbound.on_frame(frame, decode).map_err(|error| violates(&error))?;
        let device = session.device();
        Ok(match arrival {
            Arrival::Nothing => None,
            Arrival::Load(resume) => Some(Box::pin(async move {
                Completed::Positions(resume, kept.store.positions(device).await)
            })),
            Arrival::Forget(stream) => Some(Box::pin(async move {
                if let Err(error) = kept.store.forget_stream(device, stream).await {
                    tracing::debug!(%error, "cannot forget a finished stream");
                }
                Completed::Forgotten
            })),
            Arrival::Handle(message) => {
                if kept.failures.is_poison(device, message.stream, message.sequence) {
                    self.reject("the handler failed too often");
                    return Ok(None);
                }
                Some(timed(context, move || context.handler.on_kept(session, *message)))
            }
        })
    }

    /// Acts on the result of a callback for a kept message, or of a call of the store.
    pub(super) fn on_completed(&mut self, completed: Completed) -> Result<(), EndReason> {
        let now = self.since_start();
        match completed {
            Completed::Outcome(outcome) => self.act_on(outcome),
            Completed::Kept(outcome) => self.on_handled(outcome, now),
            Completed::Positions(resume, Ok(positions)) => {
                let Some(inbound) = &mut self.inbound else { return Ok(()) };
                inbound.restore(positions);
                inbound.resume(&resume).map_err(|error| violates(&error))
            }
            Completed::Positions(_, Err(error)) => Err(unavailable(&error)),
            Completed::Stored(batch, stored) => self.on_stored(batch, stored, now),
            Completed::Forgotten => Ok(()),
        }
    }

    fn on_handled(&mut self, outcome: KeptOutcome, now: Duration) -> Result<(), EndReason> {
        match outcome {
            KeptOutcome::Done { outcome, effects } => {
                let Some(inbound) = &mut self.inbound else { return Ok(()) };
                if let (Some(handling), Some(kept)) = (inbound.handling, &self.context.kept) {
                    let StreamPosition { stream, up_to, .. } = handling.position;
                    kept.failures.forget(self.session.device(), stream, up_to);
                }
                let before = inbound.batch.bytes();
                inbound.accept(effects);
                let pool = &self.context.traffic.incoming;
                pool.change(before, inbound.batch.bytes());
                self.act_on(outcome)
            }
            KeptOutcome::Later => {
                tracing::debug!("the handler wants a kept message later");
                if let Some(inbound) = &mut self.inbound {
                    inbound.later(now);
                }
                Ok(())
            }
            KeptOutcome::Rejected { reason } => {
                self.reject(&reason);
                Ok(())
            }
        }
    }

    fn reject(&mut self, reason: &str) {
        let Some(inbound) = &mut self.inbound else { return };
        if let Some(handling) = inbound.handling {
            let StreamPosition { tag: message, lane, .. } = handling.position;
            tracing::warn!(%message, %lane, reason, "rejected a kept message of the device");
        }
        self.context.hub.counters().kept_rejected.fetch_add(1, Ordering::Relaxed);
        inbound.reject();
    }

    /// Whether what was handled is to be stored now: there is enough of it, or nothing else to handle.
    pub(super) fn must_store(&self) -> bool {
        let Some(inbound) = &self.inbound else { return false };
        let is_waiting = matches!(self.pending, Some(Pending::Frame(_)));
        inbound.is_due() || (!inbound.batch.is_empty() && !is_waiting)
    }

    pub(super) fn store_batch(&mut self) -> Option<Callback<'a>> {
        let (kept, device) = (self.context.kept.as_ref()?, self.session.device());
        let batch = std::mem::take(&mut self.inbound.as_mut()?.batch);
        let steps = batch.steps();
        let incoming = &self.context.traffic.incoming;
        let held = Held { pool: incoming, bytes: batch.bytes() };
        Some(Box::pin(async move {
            let _held = held;
            let stored = kept.store.accept(device, steps).await;
            Completed::Stored(batch, stored)
        }))
    }

    fn on_stored(
        &mut self,
        batch: Batch,
        stored: Result<usize, StoreError>,
        now: Duration,
    ) -> Result<(), EndReason> {
        let Some(inbound) = &mut self.inbound else { return Ok(()) };
        match stored {
            Ok(count) if count == batch.len() => {
                let received = &self.context.hub.counters().kept_received;
                received.fetch_add(batch.messages(), Ordering::Relaxed);
                for then in inbound.stored(batch, now) {
                    then();
                }
                Ok(())
            }
            Ok(_) => {
                tracing::info!("another connection of the device has sent the same kept messages");
                Err(EndReason::ByCloud(CloseReason::new(CloseCode::Replaced)))
            }
            Err(error) => {
                tracing::warn!(%error, "cannot store kept messages of the device, it repeats them");
                inbound.not_stored(batch, now);
                Ok(())
            }
        }
    }

    /// Sends the acknowledgements that are due.
    pub(super) fn send_acks(&mut self) {
        if self.inbound.is_none() {
            return;
        }
        let now = self.since_start();
        while let Some(frame) = self.inbound.as_mut().and_then(|inbound| inbound.poll_frame(now)) {
            self.send(self.dialect().encode_down(&DownFrame::Delivery(frame), &self.limits()));
        }
    }

    /// When an acknowledgement is due.
    pub(super) fn ack_due(&self) -> Option<Instant> {
        Some(self.context.traffic.started + self.inbound.as_ref()?.deadline()?)
    }

    /// The handler has failed: if it had a kept message, that counts.
    pub(super) fn note_failure(&self, end: &EndReason) {
        let (Some(inbound), Some(kept)) = (&self.inbound, &self.context.kept) else { return };
        if let (Some(handling), EndReason::Error(SessionError::Panicked | SessionError::Stuck(_))) =
            (inbound.handling, end)
        {
            let StreamPosition { stream, up_to, .. } = handling.position;
            kept.failures.add(self.session.device(), stream, up_to);
        }
    }

    fn since_start(&self) -> Duration {
        Instant::now().saturating_duration_since(self.context.traffic.started)
    }
}

impl<H, S> Driver<'_, H, S> {
    /// What was not stored takes no memory any more.
    pub(super) fn release_batch(&self) {
        if let Some(inbound) = &self.inbound {
            self.context.traffic.incoming.change(inbound.batch.bytes(), 0);
        }
    }
}

/// Memory of a batch that is being stored, given back when that has ended or was given up.
struct Held<'a> {
    pool: &'a crate::byte_pool::BytePool,
    bytes: usize,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.pool.change(self.bytes, 0);
    }
}

fn violates(error: &Violation) -> EndReason {
    violation(&error.to_string())
}

fn violation(what: &str) -> EndReason {
    tracing::warn!(what, "the device violated the protocol of kept messages");
    EndReason::ByCloud(CloseReason::new(CloseCode::ProtocolError))
}

/// How long a device stays away whose positions cannot be read.
const STORE_RETRY: Duration = Duration::from_secs(5);

fn unavailable(error: &StoreError) -> EndReason {
    tracing::warn!(%error, "cannot read how far the device is with its kept messages");
    EndReason::ByCloud(CloseReason::retry_after(CloseCode::Overloaded, STORE_RETRY))
}
