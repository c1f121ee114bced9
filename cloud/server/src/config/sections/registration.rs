//! `[registration]`: what a first login may do to a device id that is registered already.

use serde::Deserialize;

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Registration {
    /// Whether an account, or a claim for several devices, registers an id again that is registered. For trials.
    pub(crate) may_reregister: bool,
}
