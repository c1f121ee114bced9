//! The span of a session's log lines. Those who make spans into lines keep something for each, so a session at rest
//! has none.

use tracing::Span;

use crate::messaging::presence::Presence;

/// The span of the lines about a connection.
pub(super) fn span_of(presence: &Presence) -> Span {
    tracing::info_span!(
        parent: None,
        "session",
        device = %presence.device,
        connection = %presence.connection
    )
}

/// The span of a session while it is used. Between uses in quick succession it stays, as making it takes longer than
/// a callback.
#[derive(Default)]
pub(super) struct LogSpan {
    /// Boxed, since a session at rest has none.
    span: Option<Box<Span>>,
    /// The second of the latest use.
    used_s: u32,
    /// It was made again after it had been used shortly before.
    is_busy: bool,
}

impl LogSpan {
    /// The span, which is used in the second that `now_s` returns. If nobody wants it, it is not kept.
    pub(super) fn get(&mut self, presence: &Presence, now_s: impl FnOnce() -> u32) -> Span {
        if let Some(span) = &self.span {
            let span = Span::clone(span);
            self.used_s = now_s();
            return span;
        }
        let span = span_of(presence);
        if !span.is_disabled() {
            let now_s = now_s();
            self.is_busy = now_s.saturating_sub(self.used_s) <= 1;
            self.used_s = now_s;
            self.span = Some(Box::new(span.clone()));
        }
        span
    }

    /// The session is at rest: frees the span unless it will probably be used again at once. Then it returns at which
    /// second this has to be called again.
    pub(super) fn rest(&mut self, now_s: u32) -> Option<u32> {
        if self.span.is_some() && self.is_busy && self.used_s >= now_s {
            return Some(now_s.saturating_add(1));
        }
        self.span = None;
        None
    }
}

#[cfg(test)]
mod tests {
    use fedecks_protocol::DeviceId;
    use tracing::subscriber::with_default;
    use tracing_subscriber::Registry;

    use super::*;
    use crate::messaging::presence::{ConnectionId, NodeId};

    #[test]
    fn a_span_stays_only_while_it_is_used_again_and_again() {
        let device = DeviceId::new("a").unwrap();
        let presence = Presence::new(device, ConnectionId::from_parts(1, NodeId(1)));
        let mut kept = LogSpan::default();
        assert!(kept.get(&presence, || 100).is_disabled());
        assert!(kept.span.is_none());
        with_default(Registry::default(), || {
            let first = kept.get(&presence, || 100).id();
            assert_eq!(kept.get(&presence, || 100).id(), first);
            assert_eq!(kept.rest(100), None);
            assert!(kept.span.is_none());
            let again = kept.get(&presence, || 101).id();
            assert_eq!(kept.rest(101), Some(102));
            assert_eq!(kept.get(&presence, || 101).id(), again);
            assert_eq!(kept.rest(102), None);
            assert!(kept.span.is_none());
        });
    }
}
