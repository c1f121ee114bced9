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
/// a callback. Boxed, since a session at rest has none. The second of the latest use is kept by the session.
#[derive(Default)]
pub(super) struct LogSpan(Option<Box<Made>>);

struct Made {
    span: Span,
    /// It was made again after it had been used shortly before.
    is_busy: bool,
}

impl LogSpan {
    /// The span, which is used in the second that `now_s` returns. If no one wants it, it is not kept.
    pub(super) fn get(
        &mut self,
        presence: &Presence,
        used_s: &mut u32,
        now_s: impl FnOnce() -> u32,
    ) -> Span {
        if let Some(made) = &self.0 {
            *used_s = now_s();
            return made.span.clone();
        }
        let span = span_of(presence);
        if !span.is_disabled() {
            let before_s = std::mem::replace(used_s, now_s());
            let is_busy = used_s.saturating_sub(before_s) <= 1;
            self.0 = Some(Box::new(Made { span: span.clone(), is_busy }));
        }
        span
    }

    /// The session is at rest: frees the span unless it will probably be used again at once. Then it returns at which
    /// second this has to be called again.
    pub(super) fn rest(&mut self, used_s: u32, now_s: u32) -> Option<u32> {
        let stays = self.0.as_ref().is_some_and(|made| made.is_busy) && used_s >= now_s;
        if !stays {
            self.0 = None;
        }
        stays.then(|| now_s.saturating_add(1))
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
        let (mut kept, mut used_s) = (LogSpan::default(), 0);
        assert!(kept.get(&presence, &mut used_s, || 100).is_disabled());
        assert!(kept.0.is_none());
        with_default(Registry::default(), || {
            let first = kept.get(&presence, &mut used_s, || 100).id();
            assert_eq!(kept.get(&presence, &mut used_s, || 100).id(), first);
            assert_eq!(kept.rest(used_s, 100), None);
            assert!(kept.0.is_none());
            let again = kept.get(&presence, &mut used_s, || 101).id();
            assert_eq!(kept.rest(used_s, 101), Some(102));
            assert_eq!(kept.get(&presence, &mut used_s, || 101).id(), again);
            assert_eq!(kept.rest(used_s, 102), None);
            assert!(kept.0.is_none());
        });
    }
}
