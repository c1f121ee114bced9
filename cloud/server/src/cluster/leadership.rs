//! Whether this server does what one server does for all: deliver the events of webhooks, and delete what is old.

use tokio::sync::watch;

use crate::lease::LeaseState;

/// Whether this server leads. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Leadership(Option<watch::Receiver<LeaseState>>);

impl Leadership {
    /// Of the only server.
    pub(crate) fn always() -> Self {
        Self(None)
    }

    /// Of one among several.
    pub(crate) fn of(lease: watch::Receiver<LeaseState>) -> Self {
        Self(Some(lease))
    }

    /// Whether there may be others.
    pub(crate) fn is_shared(&self) -> bool {
        self.0.is_some()
    }

    /// Whether this server leads now.
    pub(crate) fn is_held(&self) -> bool {
        self.0.as_ref().is_none_or(|lease| lease.borrow().leads)
    }

    /// Waits until this server leads.
    pub(crate) async fn begins(&self) {
        let Some(mut lease) = self.0.clone() else { return };
        if lease.wait_for(|lease| lease.leads).await.is_err() {
            // The server ends.
            std::future::pending().await
        }
    }
}
