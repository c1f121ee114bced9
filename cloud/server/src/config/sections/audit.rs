//! `[audit]`: the size of the audit log.

use fedecks_store::StoreOptions;
use serde::Deserialize;

use crate::config::values::number;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Audit {
    /// The number of lines that the audit log keeps.
    #[serde(deserialize_with = "number::<_, _, 1000, 10_000_000>")]
    pub(crate) keep: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self { keep: StoreOptions::default().audit_kept }
    }
}
