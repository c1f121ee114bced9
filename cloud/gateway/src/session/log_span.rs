//! The span of a session's log lines. Those who make spans into lines keep something for each, so a session at rest
//! has none.

use tracing::Span;
use tracing::level_filters::LevelFilter;

use crate::messaging::presence::Presence;

/// The span of the lines about a connection.
pub(super) fn span_of(presence: &Presence) -> Span {
    // Without this, the macro asks whether the crate log is used.
    if LevelFilter::current() < LevelFilter::INFO {
        return Span::none();
    }
    tracing::info_span!(
        parent: None,
        "session",
        device = %presence.device,
        connection = %presence.connection
    )
}

/// The span of a session at work. Boxed, since one at rest has none.
#[derive(Default)]
pub(super) struct LogSpan(Option<Box<Span>>);

impl LogSpan {
    /// The span. If no one wants it, it is not kept.
    pub(super) fn get(&mut self, presence: &Presence) -> Span {
        if let Some(span) = &self.0 {
            return Span::clone(span);
        }
        let span = span_of(presence);
        if !span.is_disabled() {
            self.0 = Some(Box::new(span.clone()));
        }
        span
    }

    pub(super) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Frees the span. The next use makes another one, which takes longer than a callback.
    pub(super) fn rest(&mut self) {
        self.0 = None;
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
    fn a_span_is_kept_until_the_session_is_at_rest() {
        let device = DeviceId::new("a").unwrap();
        let presence = Presence::new(device, ConnectionId::from_parts(1, NodeId(1)));
        let mut kept = LogSpan::default();
        with_default(Registry::default(), || {
            let first = kept.get(&presence);
            assert!(!first.is_disabled() && kept.is_kept());
            assert_eq!(kept.get(&presence).id(), first.id());
            kept.rest();
            assert!(!kept.is_kept());
        });
    }
}
