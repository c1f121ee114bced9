//! Kept messages of the device: hands them to the handler, stores their effects, and acknowledges them.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fedecks_protocol::{
    CloseCode, CloseReason, Content, DeliveryFrame, DeviceId, DownFrame, Kept, Resume,
};
use fedecks_store::{BoxFuture, StoreError, StreamPosition};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::Instrument;

use super::{Driver, GRACE, Pending};
use crate::byte_pool::FREE;
use crate::context::GatewayContext;
use crate::handler::Handler;
use crate::handler::KeptOutcome;
use crate::messaging::kept::KeptContent;
use crate::session::callback::{Callback, Completed, timed};
use crate::session::end::EndReason;
use crate::session::error::SessionError;
use crate::session::inbound::{Arrival, Batch, Inbound};
use crate::session::moment::Moment;
use crate::session::traffic::Traffic;

impl<'a, H: Handler, S: AsyncRead + AsyncWrite + Unpin> Driver<'a, H, S> {
    /// Handles a frame about kept messages.
    pub(super) fn on_delivery(
        &mut self,
        frame: DeliveryFrame,
        size: usize,
    ) -> Result<Option<Callback<'a>>, EndReason> {
        self.on_arrival(frame, |context, traffic, content| {
            if size > FREE {
                traffic.decoded(&context.traffic, content.weight());
            }
            match content {
                Content::Term(term) => term.decode().map(KeptContent::Term).ok(),
                Content::Raw(bytes) => Some(KeptContent::Raw(bytes)),
            }
        })
    }

    /// Rejects a kept message whose content cannot be decoded, for example because it is too deep for this cloud.
    pub(super) fn on_undecodable(&mut self, kept: Kept) -> Result<Option<Callback<'a>>, EndReason> {
        self.context.hub.counters().kept_rejected.fetch_add(1, Ordering::Relaxed);
        self.on_arrival(DeliveryFrame::Kept(kept), |_, _, _| None)
    }

    fn on_arrival(
        &mut self,
        frame: DeliveryFrame,
        decode: impl FnOnce(&GatewayContext<H>, &mut Traffic, Content) -> Option<KeptContent>,
    ) -> Result<Option<Callback<'a>>, EndReason> {
        let (context, session) = (self.context, self.session);
        let now = self.since_start();
        let Some(kept) = &context.kept else {
            return Err(self.violation(&"kept messages, which this cloud does not offer"));
        };
        let Self { inbound, traffic, .. } = self;
        let inbound = inbound.get_or_insert_with(|| Box::new(Inbound::new()));
        let decode = |content: Content| decode(context, traffic, content);
        let arrival =
            inbound.on_frame(frame, decode, now).map_err(|error| self.violation(&error))?;
        let device = session.device();
        Ok(match arrival {
            Arrival::Nothing => None,
            Arrival::Resume(resume) => {
                self.resume(&resume, now)?;
                None
            }
            Arrival::Load(resume) => Some(Box::pin(async move {
                older_sessions_end(context, device).await;
                Completed::Opened(resume, kept.store.open_streams(device).await)
            })),
            Arrival::Forget(stream) => Some(Box::pin(async move {
                if let Err(error) = kept.store.forget_stream(device, stream).await {
                    tracing::debug!(%error, "cannot forget a finished stream");
                }
                kept.rejections.forget(device, stream);
                Completed::Forgotten
            })),
            Arrival::Handle(message) => {
                if kept.failures.is_poison(device, message.stream, message.sequence) {
                    self.reject("the handler failed too often", now);
                    return Ok(None);
                }
                if message.redelivered {
                    let redelivered = &context.hub.counters().kept_redelivered;
                    redelivered.fetch_add(1, Ordering::Relaxed);
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
            Completed::Opened(resume, Ok(opened)) => {
                let Some(inbound) = &mut self.inbound else { return Ok(()) };
                inbound.restore(opened);
                self.resume(&resume, now)
            }
            Completed::Opened(_, Err(error)) => Err(unavailable(&error)),
            Completed::Stored(batch, stored) => self.on_stored(batch, stored, now),
            Completed::Forgotten => Ok(()),
            Completed::Request(key, outcome) => {
                self.on_replied(key, outcome);
                Ok(())
            }
        }
    }

    fn resume(&mut self, resume: &Resume, now: Duration) -> Result<(), EndReason> {
        let Self { inbound, context, session, .. } = self;
        let (Some(inbound), Some(kept)) = (inbound, &context.kept) else { return Ok(()) };
        let rejected = kept.rejections.from(session.device(), resume.stream, resume.oldest);
        inbound.resume(resume, rejected, now).map_err(|error| self.violation(&error))
    }

    fn on_handled(&mut self, outcome: KeptOutcome, now: Duration) -> Result<(), EndReason> {
        match outcome {
            KeptOutcome::Done { outcome, effects } => {
                let Some(inbound) = &mut self.inbound else { return Ok(()) };
                if let (Some(handling), Some(kept)) = (inbound.handling, &self.context.kept) {
                    let StreamPosition { stream, up_to, .. } = handling.position;
                    kept.failures.forget(self.session.device(), stream, up_to);
                }
                inbound.accept(effects, now);
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
                self.reject(&reason, now);
                Ok(())
            }
        }
    }

    fn reject(&mut self, reason: &str, now: Duration) {
        let Some(inbound) = &mut self.inbound else { return };
        if let Some(handling) = inbound.handling {
            let StreamPosition { tag: message, lane, .. } = handling.position;
            tracing::warn!(%message, %lane, reason, "rejected a kept message of the device");
        }
        self.context.hub.counters().kept_rejected.fetch_add(1, Ordering::Relaxed);
        inbound.reject(now);
    }

    /// Whether what was handled is to be stored now: there is enough of it, or nothing else to handle.
    pub(super) fn must_store(&self) -> bool {
        let Some(inbound) = &self.inbound else { return false };
        let is_waiting = matches!(self.pending.as_deref(), Some(Pending::Frame(_)));
        inbound.is_due(self.since_start()) || (!inbound.batch.is_empty() && !is_waiting)
    }

    /// What the batch takes counts as memory for received messages.
    pub(super) fn count_batch(&mut self) {
        let Some(inbound) = &mut self.inbound else { return };
        let bytes = inbound.batch.bytes();
        let counted = std::mem::replace(&mut inbound.counted, bytes);
        self.context.traffic.incoming.change(counted, bytes);
    }

    pub(super) fn store_batch(&mut self) -> Option<Callback<'a>> {
        self.count_batch();
        let (kept, device) = (self.context.kept.as_ref()?, self.session.device());
        let inbound = self.inbound.as_mut()?;
        let (batch, fence) = (std::mem::take(&mut inbound.batch), inbound.fence);
        let steps = batch.steps();
        let incoming = &self.context.traffic.incoming;
        let held = Held { pool: incoming, bytes: std::mem::take(&mut inbound.counted) };
        Some(Box::pin(async move {
            let _held = held;
            let stored = kept.store.accept(device, fence, steps).await;
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
            Ok(count) => {
                let is_whole = count == batch.len();
                let received = &self.context.hub.counters().kept_received;
                received.fetch_add(batch.messages(count), Ordering::Relaxed);
                if let Some(kept) = &self.context.kept {
                    for (stream, sequence) in batch.rejected(count) {
                        kept.rejections.add(self.session.device(), stream, sequence);
                    }
                }
                let mut panicked = false;
                for then in inbound.stored(batch, count, now) {
                    // What a panic leaves inconsistent is the handler's, as in a callback.
                    panicked |= std::panic::catch_unwind(AssertUnwindSafe(then)).is_err();
                }
                match (panicked, is_whole) {
                    (true, _) => Err(EndReason::Error(SessionError::Panicked)),
                    (false, true) => Ok(()),
                    (false, false) => Err(self.overtaken()),
                }
            }
            Err(error) if batch.has_gap() => Err(unavailable(&error)),
            Err(error) => {
                tracing::warn!(%error, "cannot store kept messages of the device, it repeats them");
                inbound.not_stored(batch, now);
                Ok(())
            }
        }
    }

    /// Whether there is something to store at the end of the session.
    pub(in crate::session) fn has_last(&self) -> bool {
        self.inbound.as_ref().is_some_and(|inbound| !inbound.batch.is_empty())
    }

    /// The session has ended. What the handler is done with is stored nevertheless, or it would come again. Returns
    /// the reason of the end if there is nothing to store.
    pub(in crate::session) fn store_last(&mut self, end: EndReason) -> Result<EndReason, Last<'a>> {
        if !self.has_last() {
            return Ok(end);
        }
        let span = self.span();
        let Some(last) = span.in_scope(|| self.store_batch()) else { return Ok(end) };
        let last = async move { (end, tokio::time::timeout(GRACE, last).await.ok()) };
        Err(Box::pin(last.instrument(span)))
    }

    /// The result of [`Driver::store_last`]. The reason of the end stays the first one.
    pub(in crate::session) fn stored_last(&mut self, completed: Option<Completed>) {
        let span = self.span();
        let _in_span = span.enter();
        match completed {
            Some(completed) => drop(self.on_completed(completed)),
            None => tracing::warn!("cannot store kept messages of the device in time"),
        }
    }

    /// Another connection has stored messages that this one has handled.
    fn overtaken(&self) -> EndReason {
        tracing::info!("another connection of the device has sent the same kept messages");
        let newest = self.context.hub.local(self.session.device());
        let is_newest = newest.is_some_and(|newest| newest.id() == self.session.connection());
        EndReason::ByCloud(if is_newest {
            CloseReason::retry_after(CloseCode::Overloaded, OVERTAKEN_RETRY)
        } else {
            CloseReason::new(CloseCode::Replaced)
        })
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
    pub(super) fn ack_due(&self) -> Option<Moment> {
        Some(Moment::after(self.inbound.as_ref()?.deadline()?))
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

    /// The device has broken the rules.
    pub(super) fn violation(&self, what: &dyn fmt::Display) -> EndReason {
        self.context.hub.counters().kept_violations.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%what, "the device violated the protocol of kept messages");
        EndReason::ByCloud(CloseReason::new(CloseCode::ProtocolError))
    }

    pub(super) fn since_start(&self) -> Duration {
        Instant::now().saturating_duration_since(self.context.traffic.started)
    }
}

/// What is stored after the end of a session. The reason of the end waits in it, so that every session needs no memory
/// for that.
pub(in crate::session) type Last<'a> = BoxFuture<'a, (EndReason, Option<Completed>)>;

impl<H, S> Driver<'_, H, S> {
    /// What was not stored takes no memory any more.
    pub(super) fn release_batch(&self) {
        if let Some(inbound) = &self.inbound {
            self.context.traffic.incoming.change(inbound.counted, 0);
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

/// Waits until the older sessions of the device on this node have ended, which may be handling and storing messages
/// that this one would be sent again. They have [`GRACE`] for each; the store decides about later ones.
async fn older_sessions_end<H>(context: &GatewayContext<H>, device: &DeviceId) {
    let wait = (2 * GRACE).min(context.options.idle_timeout / 2);
    let until = Instant::now() + wait;
    while context.hub.registry().is_ending(device) && Instant::now() < until {
        tokio::time::sleep(OLDER_POLL).await;
    }
}

/// How often a session looks whether older ones have ended.
const OLDER_POLL: Duration = Duration::from_millis(20);

/// How long a device stays away whose older connection was faster than its newest.
const OVERTAKEN_RETRY: Duration = Duration::from_secs(1);

/// How long a device stays away whose positions cannot be read.
const STORE_RETRY: Duration = Duration::from_secs(5);

fn unavailable(error: &StoreError) -> EndReason {
    tracing::warn!(%error, "cannot read how far the device is with its kept messages");
    EndReason::ByCloud(CloseReason::retry_after(CloseCode::Overloaded, STORE_RETRY))
}
