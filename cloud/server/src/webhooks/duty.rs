//! Whether this server delivers the events of a webhook, and what it does for the other servers then.

use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Leadership;

pub(super) struct Duty {
    leads: Leadership,
    /// It has opened the queue, and leads.
    pub(super) delivers: bool,
    /// When it last looked for what other servers have stored.
    looked: Instant,
    /// When the store last noted the time.
    dated: Instant,
}

/// How often a server that leads others looks for what they have stored, should it not be notified.
const LOOK: Duration = Duration::from_secs(1);

/// How often it has the store note the time of the queue, by which others date what they store.
const DATE: Duration = Duration::from_secs(60);

impl Duty {
    pub(super) fn new(leads: &Leadership) -> Self {
        let now = Instant::now();
        Self { leads: leads.clone(), delivers: false, looked: now, dated: now }
    }

    /// Whether it has to deliver.
    pub(super) fn is_held(&self) -> bool {
        self.leads.is_held()
    }

    /// Whether it is time to look for what other servers have stored. Then that is done.
    pub(super) fn must_look(&mut self) -> bool {
        let must = self.leads.is_shared() && self.looked.elapsed() >= LOOK;
        if must {
            self.looked = Instant::now();
        }
        must
    }

    /// Whether the store has to note the time.
    pub(super) fn must_date(&self) -> bool {
        self.leads.is_shared() && self.dated.elapsed() >= DATE
    }

    /// The store has noted the time.
    pub(super) fn dated(&mut self) {
        self.dated = Instant::now();
    }
}
