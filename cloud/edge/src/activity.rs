//! What an HTTP connection is doing, and since when. It neither reads nor closes anything.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::idle::{Evict, IdleConnections, Ticket};
use crate::rate_limit_key::RateLimitKey;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It was opened then, and has received nothing.
    Opened(Instant),
    /// The head of a request has been incomplete since then.
    Head(Instant),
    /// A request is processed, or its response is produced.
    Busy,
    /// The response is complete. A part of it is buffered, and has still to be sent.
    Sending,
    /// The latest response was sent then. A part of the next head that came together with the previous
    /// request goes unnoticed; that connection is limited as an idle one.
    Idle(Instant, Ticket),
    /// It was idle and has to give way.
    Evicted,
    /// It is closed, or no longer HTTP.
    Over,
}

/// The phase of one connection. Its socket and its requests report what changes that.
#[derive(Debug)]
pub(crate) struct Activity {
    phase: Mutex<Phase>,
    changed: Notify,
    idle: Arc<IdleConnections>,
    /// `None` if it is a trusted proxy's.
    client: Option<RateLimitKey>,
}

impl Activity {
    /// Of a connection that was opened then.
    pub(crate) fn new(
        idle: Arc<IdleConnections>,
        client: Option<RateLimitKey>,
        opened: Instant,
    ) -> Arc<Self> {
        let phase = Mutex::new(Phase::Opened(opened));
        Arc::new(Self { phase, changed: Notify::new(), idle, client })
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.lock()
    }

    /// The client that it counts for; `None` if it is a trusted proxy's.
    pub(crate) fn client(&self) -> Option<RateLimitKey> {
        self.client
    }

    /// Waits for the next change of the phase. One since the previous call counts.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Bytes were received. Returns whether further ones are of interest.
    pub(crate) fn received(&self) -> bool {
        let phase = self.phase();
        match phase {
            Phase::Opened(since) => self.set(Phase::Head(since)),
            Phase::Idle(..) => self.set(Phase::Head(Instant::now())),
            Phase::Head(_) | Phase::Busy | Phase::Sending | Phase::Evicted | Phase::Over => {}
        }
        phase != Phase::Over
    }

    /// The head of a request is complete.
    pub(crate) fn requested(&self) {
        self.set(Phase::Busy);
    }

    /// The response is complete, and the connection stays open.
    pub(crate) fn responded(&self) {
        self.set(Phase::Sending);
    }

    /// All that was buffered was sent.
    pub(crate) fn flushed(self: &Arc<Self>) {
        // Locked, so that it isn't evicted before it is idle.
        let mut phase = self.phase.lock();
        if *phase != Phase::Sending {
            return;
        }
        let (ticket, oldest) = self.idle.enter(self.clone(), self.client);
        *phase = Phase::Idle(Instant::now(), ticket);
        drop(phase);
        self.changed.notify_one();
        if let Some((ticket, oldest)) = oldest {
            oldest.evict(ticket);
        }
    }

    /// It is closed, or upgraded.
    pub(crate) fn end(&self) {
        self.set(Phase::Over);
    }

    fn set(&self, next: Phase) {
        let previous = std::mem::replace(&mut *self.phase.lock(), next);
        if let Phase::Idle(_, ticket) = previous {
            self.idle.leave(ticket);
        }
        self.changed.notify_one();
    }
}

impl Evict for Activity {
    fn evict(&self, ticket: Ticket) {
        let mut phase = self.phase.lock();
        if matches!(*phase, Phase::Idle(_, current) if current == ticket) {
            *phase = Phase::Evicted;
            drop(phase);
            self.changed.notify_one();
        }
    }
}
