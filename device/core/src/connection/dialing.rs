//! An attempt is under way: until the Welcome, a failure, a deadline, or somebody who wants it ended.

use fedecks_protocol::{CloseCode, DownFrame};

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
    /// The network changed since it began: if it fails, the next one comes at once.
    hurry: bool,
}

impl Dialing {
    /// Begins the next attempt, with what there is to dial with.
    pub(super) fn begin(now: Time, cx: &mut Shared) -> Result<Self, Next> {
        let header = cx.auth_header().ok_or(Next::Waiting(Retry::Soon))?;
        let attempt = Attempt(cx.attempt.0 + 1);
        cx.attempt = attempt;
        cx.out.emit(Event::Connecting { attempt });
        let mut it = Self { phase: Phase::Resolve, hurry: false };
        // A token of legal length always fits; should it not, it is as good as unreachable.
        let header = header.map_err(|error| {
            it.fail(FailReason::Unreachable(error.to_string()), Retry::MaxBackoff, cx)
        })?;
        it.on_phase(now, Phase::Resolve, cx);
        cx.out.push(Action::Dial { attempt, header });
        Ok(it)
    }

    pub(super) fn on_phase(&mut self, now: Time, entered: Phase, cx: &mut Shared) {
        self.phase = entered;
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
            Err(DialError::Unreachable(error)) => {
                Some(self.fail(FailReason::Unreachable(error), Retry::Backoff, cx))
            }
            Err(DialError::Refused { refusal, retry_after }) => {
                let retry = Retry::after_refusal(refusal, retry_after, cx);
                Some(self.fail(FailReason::Refused(refusal), retry, cx))
            }
        }
    }

    /// The cloud speaks: what it says first is the Welcome.
    pub(super) fn on_message(&self, bytes: &[u8], cx: &mut Shared) -> Option<Next> {
        match cx.decode(bytes)? {
            DownFrame::Welcome(welcome) => Some(Next::Session(welcome)),
            DownFrame::Unknown { kind } => {
                cx.log(Notice::UnknownFrame { kind });
                None
            }
            DownFrame::Message { .. }
            | DownFrame::Raw { .. }
            | DownFrame::Token(_)
            | DownFrame::Ack(_)
            | DownFrame::Request { .. } => {
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
            // Nothing has come back yet. What was sent went nowhere, and the kernel sends it
            // again only after seconds.
            Network::Up if was_down && matches!(self.phase, Phase::Resolve | Phase::Tcp) => {
                self.close_locally(CloseCode::GoingAway, cx);
                return Some(Next::Waiting(Retry::Soon));
            }
            Network::Up | Network::Changed => {
                self.hurry = true;
                let soon = now + cx.config.probe_deadline;
                let deadline = cx.out.timers.get(Timer::Phase).map_or(soon, |at| at.min(soon));
                cx.out.timers.set(Timer::Phase, deadline);
            }
            Network::Down => {}
        }
        None
    }

    /// The link ended before the Welcome.
    pub(super) fn on_lost(&self, reason: LostReason, cx: &mut Shared) -> Next {
        let retry = Retry::after_loss(&reason, false);
        cx.link_ended(reason, |reason| Event::ConnectionFailed {
            reason: FailReason::Lost(reason),
        });
        self.wait(retry)
    }

    /// The phase has taken too long.
    pub(super) fn on_timeout(&self, cx: &mut Shared) -> Next {
        cx.disconnect(CloseCode::GoingAway);
        self.fail(FailReason::Timeout(self.phase), Retry::Backoff, cx)
    }

    /// Ends the attempt because this end wants it.
    pub(super) fn close_locally(&self, code: CloseCode, cx: &mut Shared) {
        cx.disconnect(code);
        cx.out.emit(Event::ConnectionFailed { reason: FailReason::GivenUp });
    }

    fn fail(&self, reason: FailReason, retry: Retry, cx: &mut Shared) -> Next {
        cx.out.emit(Event::ConnectionFailed { reason });
        self.wait(retry)
    }

    fn wait(&self, retry: Retry) -> Next {
        Next::Waiting(if self.hurry && retry == Retry::Backoff { Retry::Soon } else { retry })
    }
}
