//! What the server adds to the audit log besides the changes, which the store adds itself. What one
//! caller can repeat at will is limited for each caller.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::DeviceId;
use fedecks_store::{Actor, ApiToken, AuditAction, AuditClass, AuditEntry, AuditStore, unix_now};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Adds entries to the audit log, and never waits. Clones share it.
#[derive(Clone)]
pub(crate) struct AuditTrail(Arc<Shared>);

struct Shared {
    store: Arc<dyn AuditStore>,
    /// By the caller.
    limited: Mutex<HashMap<(AuditClass, String), Recorded>>,
}

/// What was recorded lately of one caller.
struct Recorded {
    /// When as many may be recorded at once again as at first.
    full_at: Instant,
    /// How many were left out since the last one that was recorded.
    left_out: u64,
}

/// How many sign-ins, and refused changes, of one caller are recorded at once.
const BURST: u32 = 20;

/// How often one more is recorded after that.
const INTERVAL: Duration = Duration::from_secs(10);

impl AuditTrail {
    pub(crate) fn new(store: Arc<dyn AuditStore>) -> Self {
        Self(Arc::new(Shared { store, limited: Mutex::default() }))
    }

    pub(crate) fn add(
        &self,
        by: Actor,
        action: AuditAction,
        device: Option<DeviceId>,
        detail: Option<String>,
    ) {
        let detail = match action.class() {
            class @ (AuditClass::SignIns | AuditClass::Refusals) => {
                let Some(left_out) = self.admit(class, &by, Instant::now()) else { return };
                let more = (left_out > 0).then(|| format!("{left_out} more before it"));
                match (detail, more) {
                    (Some(detail), Some(more)) => Some(format!("{detail}; {more}")),
                    (detail, more) => detail.or(more),
                }
            }
            _ => detail,
        };
        self.0.store.audit_later(AuditEntry { at: unix_now(), by, action, device, detail });
    }

    /// How many were left out before this one, or `None` if it is left out itself.
    fn admit(&self, class: AuditClass, by: &Actor, now: Instant) -> Option<u64> {
        let mut limited = self.0.limited.lock();
        if limited.len() >= 2 * ApiToken::MAX as usize {
            limited.retain(|_, recorded| recorded.full_at > now);
        }
        let key = (class, by.as_str().to_owned());
        let fresh = Recorded { full_at: now, left_out: 0 };
        let recorded = limited.entry(key).or_insert(fresh);
        let full_at = recorded.full_at.max(now) + INTERVAL;
        if full_at > now + INTERVAL * BURST {
            recorded.left_out += 1;
            return None;
        }
        recorded.full_at = full_at;
        Some(std::mem::take(&mut recorded.left_out))
    }
}

#[cfg(test)]
mod tests {
    use fedecks_store::{AuditQuery, SqliteStore};
    use fedecks_testing::wait::until;

    use super::*;

    #[tokio::test]
    async fn what_a_caller_repeats_is_left_out_and_counted() {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let trail = AuditTrail::new(store.clone());
        let (a, b) = (Actor::token("a"), Actor::token("b"));
        let now = Instant::now();
        let admitted = |by: &Actor, class, at| {
            let admitted = (0..1000).filter_map(|_| trail.admit(class, by, at));
            admitted.collect::<Vec<_>>()
        };
        assert_eq!(admitted(&a, AuditClass::Refusals, now), [0; 20]);
        assert_eq!(admitted(&a, AuditClass::Refusals, now + INTERVAL), [980]);
        assert_eq!(admitted(&a, AuditClass::SignIns, now), [0; 20], "another class");
        assert_eq!(admitted(&b, AuditClass::Refusals, now), [0; 20], "another caller");
        let later = now + INTERVAL * 100;
        assert_eq!(admitted(&a, AuditClass::Refusals, later)[..2], [999, 0]);

        for action in [AuditAction::MessageSent, AuditAction::LoggedIn] {
            (0..100).for_each(|_| trail.add(a.clone(), action, None, None));
        }
        until(async || {
            let all = store.audit_page(&AuditQuery::default()).await.unwrap();
            (all.len() == 200).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn the_next_entry_says_how_many_were_left_out() {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let trail = AuditTrail::new(store.clone());
        let by = Actor::token("a");
        let key = (AuditClass::Refusals, by.as_str().to_owned());
        let recorded = Recorded { full_at: Instant::now(), left_out: 980 };
        trail.0.limited.lock().insert(key, recorded);
        trail.add(by, AuditAction::ChangeRefused, None, Some("POST".into()));
        let entry =
            until(async || store.audit_page(&AuditQuery::default()).await.unwrap().pop()).await;
        assert_eq!(entry.detail.as_deref(), Some("POST; 980 more before it"));
    }
}
