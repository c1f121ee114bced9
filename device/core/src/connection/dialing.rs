//! The state of an attempt, until the Welcome, a failure, a deadline or a cancellation.

use fedecks_protocol::{CloseCode, DownFrame, Received};

use super::next::Next;
use super::retry_policy::Retry;
use super::shared::Shared;
use crate::action::{Action, Notice};
use crate::attempt::{Attempt, DialError, Phase};
use crate::event::{Event, FailReason, LostReason};
use crate::time::Time;
use crate::timers::Timer;
use crate::watch::Network;

#[derive(Debug)]
pub(super) struct Dialing {
    phase: Phase,
    /// When the phase began.
    since: Time,
    /// The network has changed since the attempt started: if it fails, there is no backoff.
    skip_backoff: bool,
}

impl Dialing {
    /// Starts the next attempt, with the login or the token.
    pub(super) fn begin(now: Time, cx: &mut Shared) -> Result<Self, Next> {
        let header = cx.auth_header().ok_or(Next::Waiting(Retry::Soon))?;
        let attempt = Attempt(cx.attempt.0 + 1);
        cx.attempt = attempt;
        cx.round_trip.on_dial();
        cx.out.emit(Event::Connecting { attempt });
        let mut it = Self { phase: Phase::Resolve, since: now, skip_backoff: false };
        // A token of valid length always fits. If not, treat the cloud as unreachable.
        let header = header.map_err(|error| {
            let reason =
                FailReason::Unreachable { phase: Phase::Upgrade, error: error.to_string() };
            it.fail(reason, Retry::MaxBackoff, cx)
        })?;
        it.on_phase(now, Phase::Resolve, cx);
        cx.out.push(Action::Dial { attempt, header });
        Ok(it)
    }

    pub(super) fn on_phase(&mut self, now: Time, entered: Phase, cx: &mut Shared) {
        match self.phase {
            // It has ended with an answer from the cloud.
            Phase::Tcp | Phase::Tls | Phase::Upgrade => cx.round_trip.on_answer(now - self.since),
            // What answers is a name server, which may be near; the Welcome follows the upgrade at once.
            Phase::Resolve | Phase::Welcome => {}
        }
        (self.phase, self.since) = (entered, now);
        let deadline = match entered {
            Phase::Resolve => cx.config.resolve_deadline,
            Phase::Tcp => cx.config.tcp_deadline,
            Phase::Tls => cx.config.tls_deadline,
            Phase::Upgrade => cx.config.upgrade_deadline,
            Phase::Welcome => cx.config.welcome_deadline,
        };
        cx.out.timers.set(Timer::Phase, now + deadline);
    }

    pub(super) fn on_dialed(
        &mut self,
        now: Time,
        result: Result<(), DialError>,
        cx: &mut Shared,
    ) -> Option<Next> {
        match result {
            Ok(()) => {
                self.on_phase(now, Phase::Welcome, cx);
                None
            }
            Err(DialError::Unreachable { phase, error }) => {
                Some(self.fail(FailReason::Unreachable { phase, error }, Retry::Backoff, cx))
            }
            Err(DialError::Refused { refusal, retry_after }) => {
                let was_late = cx.tokens.is_late();
                let retry = Retry::after_refusal(refusal, retry_after, cx);
                let next = self.fail(FailReason::Refused(refusal), retry, cx);
                if cx.tokens.is_late() && !was_late {
                    cx.out.emit(Event::TokenLate);
                }
                Some(next)
            }
        }
    }

    /// Handles the first message, which must be the Welcome.
    pub(super) fn on_message(&self, bytes: &[u8], cx: &mut Shared) -> Option<Next> {
        match cx.decode(bytes)? {
            Received::Frame(DownFrame::Welcome(welcome)) => Some(Next::Session(welcome)),
            Received::Frame(DownFrame::Unknown { kind }) => {
                cx.log(Notice::UnknownFrame { kind });
                None
            }
            Received::Message(_)
            | Received::Frame(
                DownFrame::Message { .. }
                | DownFrame::Raw { .. }
                | DownFrame::Token(_)
                | DownFrame::Delivery(_)
                | DownFrame::Alive(_)
                | DownFrame::Request(_),
            ) => {
                cx.disconnect(CloseCode::ProtocolError);
                Some(self.fail(FailReason::NoWelcome, Retry::Backoff, cx))
            }
        }
    }

    pub(super) fn on_network(
        &mut self,
        now: Time,
        network: Network,
        was_down: bool,
        cx: &mut Shared,
    ) -> Option<Next> {
        match network {
            // Nothing has come back yet. What was sent is lost, and the kernel takes seconds to
            // retransmit it.
            Network::Up if was_down && matches!(self.phase, Phase::Resolve | Phase::Tcp) => {
                self.close_locally(CloseCode::GoingAway, cx);
                return Some(Next::Waiting(Retry::Soon));
            }
            Network::Up | Network::Changed => {
                self.skip_backoff = true;
                let soon = now + cx.round_trip.probe_deadline(&cx.config);
                let deadline = cx.out.timers.get(Timer::Phase).map_or(soon, |at| at.min(soon));
                cx.out.timers.set(Timer::Phase, deadline);
            }
            Network::Down => {}
        }
        None
    }

    /// Handles the end of the link before the Welcome.
    pub(super) fn on_lost(&self, reason: LostReason, cx: &mut Shared) -> Next {
        let retry = Retry::after_loss(&reason, false);
        cx.link_ended(reason, |reason| Event::ConnectionFailed {
            reason: FailReason::Lost(reason),
        });
        self.wait(retry)
    }

    /// Handles the deadline of the phase.
    pub(super) fn on_timeout(&self, cx: &mut Shared) -> Next {
        if self.skip_backoff {
            cx.round_trip.on_probe_failed();
        }
        cx.disconnect(CloseCode::GoingAway);
        self.fail(FailReason::Timeout(self.phase), Retry::Backoff, cx)
    }

    /// Ends the attempt on this end's initiative.
    pub(super) fn close_locally(&self, code: CloseCode, cx: &mut Shared) {
        cx.disconnect(code);
        cx.out.emit(Event::ConnectionFailed { reason: FailReason::GivenUp });
    }

    fn fail(&self, reason: FailReason, retry: Retry, cx: &mut Shared) -> Next {
        cx.out.emit(Event::ConnectionFailed { reason });
        self.wait(retry)
    }

    fn wait(&self, retry: Retry) -> Next {
        let skip = self.skip_backoff && retry == Retry::Backoff;
        Next::Waiting(if skip { Retry::Soon } else { retry })
    }
}
