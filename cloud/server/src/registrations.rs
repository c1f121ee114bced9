//! Records which devices are registered, and which account or claim a refused login presented.

use std::collections::VecDeque;
use std::sync::Arc;

use fedecks_cloud::DeviceId;
use fedecks_cloud::accounts::RegistrationObserver;
use fedecks_protocol::Refusal;
use fedecks_store::{RegisteredBy, Registration};
use parking_lot::Mutex;

use crate::event_kind::EventKind;
use crate::events::{Event, EventLog, EventPayload};
use crate::metrics::DeviceCounters;

/// Clones share what it knows.
#[derive(Clone)]
pub(crate) struct RegistrationRecorder {
    events: EventLog,
    counters: DeviceCounters,
    /// Of logins that are being refused; the oldest first.
    refused: Arc<Mutex<VecDeque<RefusedLogin>>>,
}

struct RefusedLogin {
    device: DeviceId,
    refusal: Refusal,
    by: RegisteredBy,
}

/// How many logins are being refused at a time. Those of devices that have hung up are never asked for.
const MOST_REFUSED: usize = 1024;

impl RegistrationRecorder {
    pub(crate) fn new(events: EventLog, counters: DeviceCounters) -> Self {
        Self { events, counters, refused: Arc::default() }
    }

    /// What the device presented that is being refused, if it is known.
    pub(crate) fn refused_by(&self, device: &DeviceId, refusal: Refusal) -> Option<RegisteredBy> {
        let mut refused = self.refused.lock();
        let is_it = |one: &RefusedLogin| one.device == *device && one.refusal == refusal;
        let index = refused.iter().rposition(is_it)?;
        refused.remove(index).map(|one| one.by)
    }
}

impl RegistrationObserver for RegistrationRecorder {
    fn on_registered(&self, device: &DeviceId, registration: &Registration, returned: bool) {
        let Registration { by, address, .. } = registration;
        let (named, address) = (by.to_string(), *address);
        let (kind, payload) = if returned {
            (EventKind::Returned, EventPayload::Returned { by: named, address })
        } else {
            (EventKind::Registered, EventPayload::Registered { by: named, address })
        };
        self.counters.count_registration(by, kind);
        self.events.record(Event::now(device, payload));
    }

    fn on_refused(&self, device: &DeviceId, by: &RegisteredBy, refusal: Refusal) {
        let mut refused = self.refused.lock();
        if refused.len() >= MOST_REFUSED {
            refused.pop_front();
        }
        refused.push_back(RefusedLogin { device: device.clone(), refusal, by: by.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Bounds;

    #[test]
    fn a_refused_login_is_named_once_and_the_oldest_forgotten() {
        let events = EventLog::new(Bounds { events: 10, bytes: 100_000 });
        let recorder = RegistrationRecorder::new(events, DeviceCounters::default());
        let device = |number: usize| DeviceId::new(format!("a-{number}")).unwrap();
        let by = RegisteredBy::Account("fleet".into());
        for number in 0..=MOST_REFUSED {
            recorder.on_refused(&device(number), &by, Refusal::IdTaken);
        }
        assert_eq!(recorder.refused_by(&device(0), Refusal::IdTaken), None);
        assert_eq!(recorder.refused_by(&device(1), Refusal::BadCredentials), None);
        assert_eq!(recorder.refused_by(&device(1), Refusal::IdTaken), Some(by));
        assert_eq!(recorder.refused_by(&device(1), Refusal::IdTaken), None);
    }
}
