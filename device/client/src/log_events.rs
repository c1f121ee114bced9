//! Log lines for the core's events and notices. Never a token, a credential or the body of a message.

use fedecks_device_core::{Event, FailReason, LoggedIn, LoginError, LostReason, Notice, Settled};
use fedecks_protocol::{DeviceId, EncodedTerm, Refusal, Tag};
use tracing::{debug, error, info, warn};

/// The log of events. A login that waits for someone in the cloud is logged once for each reason, not at each attempt.
#[derive(Debug)]
pub(crate) struct EventLog {
    device: DeviceId,
    /// What the login waits for.
    waits: Option<Refusal>,
}

impl EventLog {
    pub(crate) fn new(device: DeviceId) -> Self {
        Self { device, waits: None }
    }

    pub(crate) fn event(&mut self, it: &Event) {
        match it {
            Event::ConnectionFailed { reason: FailReason::Refused(refusal) } if refusal.waits() => {
                let is_new = self.waits.replace(*refusal) != Some(*refusal);
                let reason = refusal.reason();
                if is_new {
                    warn!(reason, "the login waits: {}", refusal.explain(self.device.as_str()));
                } else {
                    debug!(reason, "the login still waits");
                }
                return;
            }
            Event::ConnectionFailed { reason: FailReason::Refused(_) } | Event::Connected => {
                self.waits = None;
            }
            _ => {}
        }
        event(it);
    }
}

fn event(event: &Event) {
    match event {
        Event::Unregistered => warn!("unregistered: waiting for a login"),
        Event::TokenLate => warn!(
            "token late: login or operator needed; the cloud says that the token has expired. It is kept and \
             tried every few minutes, as the cloud's clock may be wrong"
        ),
        Event::ConnectionScheduled { delay } => {
            info!(
                delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                "connection scheduled"
            );
        }
        Event::Connecting { attempt } => info!(%attempt, "connecting"),
        Event::Connected => info!("connected"),
        Event::ConnectionFailed { reason: reason @ FailReason::Refused(refusal) } => {
            let code = refusal.reason();
            if reason.is_rejected() {
                error!(reason = code, "connection failed: {reason}");
            } else {
                warn!(reason = code, "connection failed: {reason}");
            }
        }
        Event::ConnectionFailed { reason: reason @ FailReason::GivenUp } => {
            info!("connection failed: {reason}");
        }
        Event::ConnectionFailed { reason } => warn!("connection failed: {reason}"),
        Event::ConnectionLost { reason: reason @ LostReason::Local } => {
            info!("connection lost: {reason}");
        }
        Event::ConnectionLost { reason } => warn!("connection lost: {reason}"),
        Event::Replaced => error!("replaced: another connection uses this device's id"),
        Event::Message(term) => debug!(weight = term.weight(), "message"),
        Event::RawMessage(bytes) => debug!(size = bytes.len(), "raw message"),
        Event::StoreFailed { error } => error!(%error, "the token store failed"),
        Event::Missed { count } => warn!(count, "events were missed"),
        event => info!("{event}"),
    }
}

pub(crate) fn message(message: &EncodedTerm) {
    debug!(size = message.size(), weight = message.weight(), "message");
}

pub(crate) fn login(result: &Result<LoggedIn, LoginError>) {
    match result {
        Ok(LoggedIn { persisted: true, .. }) => info!("logged in, the token is stored"),
        Ok(LoggedIn { persisted: false, .. }) => {
            warn!("logged in, but the token could not be stored and is lost at the next reboot");
        }
        Err(error) => warn!("login failed: {error}"),
    }
}

pub(crate) fn settled(message: Tag, settled: Settled) {
    match settled {
        Settled::Delivered => debug!(%message, "a kept message was acknowledged"),
        Settled::Rejected => warn!(%message, "the cloud has rejected a kept message"),
        Settled::Voided(reason) => {
            warn!(%message, reason = reason.as_str(), "dropped a kept message");
        }
    }
}

pub(crate) fn notice(notice: &Notice) {
    match notice {
        Notice::UnknownFrame { kind } => {
            info!(kind, "ignored a frame of an unknown kind; the cloud may be newer");
        }
        Notice::UnexpectedFrame(frame) => {
            info!(name = frame.to_string(), "ignored an unexpected frame")
        }
        Notice::BadFrame { size, error } => warn!(size, %error, "ignored an undecodable frame"),
        Notice::OtherCloud { dropped } => {
            warn!(
                dropped,
                "the cloud is another one: dropped the messages that were kept for the one before"
            );
        }
        Notice::QueueFound { messages, damaged, foreign } => {
            info!(messages, damaged, foreign, "found kept messages on disk");
        }
        Notice::QueueFailed { error } => {
            error!(%error, "the queue on disk failed, its messages wait in memory");
        }
        Notice::Renumbered => {
            warn!(
                "the cloud knows other messages of this device: those that are kept may arrive twice, flagged"
            );
        }
        Notice::Gap { messages } => warn!(
            messages,
            "the positions were set back: the cloud has kept messages no longer that may have come before"
        ),
        Notice::Skipped { messages, reason } => {
            info!(messages, reason = reason.as_str(), "the cloud has dropped kept messages");
        }
        Notice::Violation(violation) => {
            error!(%violation, "the cloud violated the protocol of kept messages")
        }
        Notice::TextMessage { size } => warn!(size, "ignored a text message"),
    }
}
