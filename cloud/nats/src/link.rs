//! Whether NATS is connected, as its client reports it, and whether what is sent comes back.

use std::time::SystemTime;

use async_nats::Event;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::state::{Counters, count};

pub(crate) struct Link {
    pub(crate) counters: Counters,
    pub(crate) status: Mutex<Status>,
    /// The client has reported something.
    pub(crate) reported: Notify,
}

pub(crate) struct Status {
    pub(crate) connected: bool,
    pub(crate) since: SystemTime,
    pub(crate) error: Option<String>,
    /// A connection has begun that was not announced yet.
    pub(crate) is_new: bool,
    /// When an own message last came back from NATS.
    pub(crate) echo: Instant,
}

impl Link {
    pub(crate) fn new() -> Self {
        let status = Status {
            connected: false,
            since: SystemTime::now(),
            error: None,
            is_new: false,
            echo: Instant::now(),
        };
        Self { counters: Counters::default(), status: Mutex::new(status), reported: Notify::new() }
    }

    pub(crate) fn report(&self, event: &Event) {
        match event {
            Event::Connected => {
                let mut status = self.status.lock();
                status.is_new = true;
                status.error = None;
            }
            Event::SlowConsumer(_) => count(&self.counters.missed),
            Event::ServerError(error) => self.status.lock().error = Some(error.to_string()),
            Event::ClientError(error) => self.status.lock().error = Some(error.to_string()),
            Event::Disconnected | Event::LameDuckMode | Event::Draining | Event::Closed => {}
        }
        self.reported.notify_one();
    }
}
