//! Converts the client's events to D-Bus signals.

use std::time::Duration;

use fedecks_dbus::{Dictionary, Variant};
use fedecks_device_core::{Event, FailReason, LostReason};
use fedecks_protocol::Term;
use tracing::warn;

/// A signal of the interface.
#[derive(Debug, PartialEq)]
pub(super) enum Signal {
    Message(Variant),
    Raw(Vec<u8>),
    Event { name: &'static str, details: Dictionary },
}

impl Signal {
    /// A message takes at most `max` bytes on D-Bus.
    pub(super) fn new(event: Event, max: usize) -> Self {
        match event {
            Event::Unregistered => Self::event("unregistered", vec![]),
            Event::TokenLate => Self::event("token_late", vec![]),
            Event::ConnectionScheduled { delay } => {
                Self::event("connection_scheduled", vec![("delay_ms", millis(delay))])
            }
            Event::Connecting { attempt } => {
                let attempt = Term::from(attempt.0);
                Self::event("connecting", vec![("attempt", attempt)])
            }
            Event::Connected => Self::event("connected", vec![]),
            Event::ConnectionFailed { reason } => {
                let mut details = vec![("reason", Term::from(reason.to_string()))];
                details.extend(refusal(&reason).map(|word| ("refusal", Term::from(word))));
                Self::event("connection_failed", details)
            }
            Event::ConnectionLost { reason } => {
                let mut details = vec![("reason", Term::from(reason.to_string()))];
                if let LostReason::Closed(close) = &reason {
                    details.push(("code", Term::from(close.code.code())));
                }
                Self::event("connection_lost", details)
            }
            Event::Replaced => Self::event("replaced", vec![]),
            Event::Message(term) => match Variant::within(term, max) {
                Ok(message) => Self::Message(message),
                Err(error) => {
                    warn!(%error, "cannot signal a message from the cloud on D-Bus");
                    let reason = Term::from(error.to_string());
                    Self::event("message_undeliverable", vec![("reason", reason)])
                }
            },
            Event::RawMessage(bytes) => Self::Raw(bytes),
            Event::StoreFailed { error } => {
                Self::event("store_failed", vec![("error", Term::from(error))])
            }
            Event::Missed { count } => Self::event("missed", vec![("count", Term::from(count))]),
            event => Self::event("other", vec![("text", Term::from(event.to_string()))]),
        }
    }

    fn event(name: &'static str, details: Vec<(&'static str, Term)>) -> Self {
        let details = details.into_iter().map(|(key, value)| (Term::from(key), value));
        // This cannot fail, as the details are short and flat. An event without them is better than none.
        let details = Dictionary::new(details.collect()).unwrap_or_default();
        Self::Event { name, details }
    }
}

fn refusal(reason: &FailReason) -> Option<&'static str> {
    match reason {
        FailReason::Refused(refusal) => Some(refusal.reason()),
        _ => None,
    }
}

fn millis(duration: Duration) -> Term {
    Term::from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use fedecks_protocol::Refusal;

    use super::*;

    fn details(event: Event, expected: &str) -> Dictionary {
        match Signal::new(event, 1024 * 1024) {
            Signal::Event { name, details } if name == expected => details,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refusal_has_its_code_next_to_the_sentence() {
        let reason = FailReason::Refused(Refusal::BadCredentials);
        let sentence = reason.to_string();
        let details = details(Event::ConnectionFailed { reason }, "connection_failed");
        assert_eq!(details.get("refusal"), Some(&Term::from("bad-credentials")));
        assert_eq!(details.get("reason"), Some(&Term::from(sentence)));
    }

    #[test]
    fn a_message_too_big_for_d_bus_is_reported_and_not_sent() {
        let nulls = Term::List(vec![Term::Nil; 100_000]);
        let details = details(Event::Message(nulls), "message_undeliverable");
        let reason = details.get("reason").and_then(Term::as_str).unwrap();
        assert!(reason.contains("at most 1048576 bytes are allowed"), "{reason}");
    }

    #[test]
    fn a_message_too_deep_for_d_bus_is_reported_and_not_sent() {
        let deep = (0..40).fold(Term::Nil, |term, _| Term::List(vec![term]));
        let details = details(Event::Message(deep), "message_undeliverable");
        assert!(details.get("reason").and_then(Term::as_str).unwrap().contains("64 levels"));
    }
}
