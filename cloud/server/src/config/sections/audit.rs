//! `[audit]`: the size of the audit log.

use std::time::Duration;

use fedecks_store::{AuditKept, AuditLimits};
use serde::Deserialize;

use crate::config::values::{number, positive};

/// See [`AuditLimits`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Audit {
    #[serde(deserialize_with = "number::<_, _, 1000, 10_000_000>")]
    keep: u32,
    #[serde(deserialize_with = "positive")]
    keep_for: Duration,
    #[serde(deserialize_with = "number::<_, _, 1000, 10_000_000>")]
    logins_keep: u32,
    #[serde(deserialize_with = "positive")]
    logins_keep_for: Duration,
    #[serde(deserialize_with = "number::<_, _, 1000, 10_000_000>")]
    refusals_keep: u32,
    #[serde(deserialize_with = "positive")]
    refusals_keep_for: Duration,
    #[serde(deserialize_with = "number::<_, _, 1000, 10_000_000>")]
    messages_keep: u32,
    #[serde(deserialize_with = "positive")]
    messages_keep_for: Duration,
}

impl Default for Audit {
    fn default() -> Self {
        let AuditLimits { changes, logins, refusals, messages, .. } = AuditLimits::default();
        Self {
            keep: changes.lines,
            keep_for: changes.age,
            logins_keep: logins.lines,
            logins_keep_for: logins.age,
            refusals_keep: refusals.lines,
            refusals_keep_for: refusals.age,
            messages_keep: messages.lines,
            messages_keep_for: messages.age,
        }
    }
}

impl Audit {
    pub(crate) fn limits(&self) -> AuditLimits {
        AuditLimits::default().with(|it| {
            it.changes = AuditKept::new(self.keep, self.keep_for);
            it.logins = AuditKept::new(self.logins_keep, self.logins_keep_for);
            it.refusals = AuditKept::new(self.refusals_keep, self.refusals_keep_for);
            it.messages = AuditKept::new(self.messages_keep, self.messages_keep_for);
        })
    }
}
