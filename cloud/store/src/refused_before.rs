//! Which refusals the audit log gets: a device that is refused asks again, and one line of a kind is enough.

use std::collections::HashMap;

use fedecks_protocol::DeviceId;
use parking_lot::Mutex;

use crate::audit::{Actor, AuditAction, AuditEntry};
use crate::registrations::{RegisteredBy, RegistrationRefusal, RegistrationRequest};

/// What was refused lately.
#[derive(Default)]
pub(crate) struct RefusedBefore(Mutex<HashMap<Key, u64>>);

/// The device, the proof and the reason.
type Key = (DeviceId, RegisteredBy, &'static str);

/// How many refusals are remembered, each of at most 800 bytes. Above that, all are forgotten.
const MAX: usize = 10_000;

/// How long, in seconds.
const INTERVAL_S: u64 = 3600;

impl RefusedBefore {
    /// The line about a refusal, if one is due.
    pub(crate) fn line(
        &self,
        request: &RegistrationRequest,
        refusal: RegistrationRefusal,
        by: &RegisteredBy,
    ) -> Option<AuditEntry> {
        use RegistrationRefusal::{ApprovalPending, Blocked, UnknownClaim};
        if matches!(refusal, ApprovalPending | Blocked | UnknownClaim) {
            return None;
        }
        let RegistrationRequest { device, address, at, .. } = request;
        let key = (device.clone(), by.clone(), refusal.as_str());
        {
            let mut refused = self.0.lock();
            let before = refused.get(&key);
            if before.is_some_and(|before| (*before..before + INTERVAL_S).contains(at)) {
                return None;
            }
            if refused.len() >= MAX {
                refused.clear();
            }
            refused.insert(key, *at);
        }
        let actor = Actor::registrant(by);
        let by = address.iter().fold(actor, |by, address| by.from_address(*address));
        let (device, detail) = (Some(device.clone()), Some(refusal.as_str().to_owned()));
        Some(AuditEntry { at: *at, by, action: AuditAction::RegistrationRefused, device, detail })
    }
}
