//! `[tokens]`: how long the devices' tokens are valid.

use std::time::Duration;

use serde::Deserialize;

use crate::config::error::{ConfigError, ConfigSources};
use crate::config::values::{positive, whole_seconds};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tokens {
    /// How long a token is valid.
    #[serde(deserialize_with = "whole_seconds")]
    pub(crate) lifetime: Duration,
    /// The age at which a connected device's token is replaced.
    #[serde(deserialize_with = "positive")]
    pub(crate) refresh: Duration,
}

impl Default for Tokens {
    fn default() -> Self {
        let hours = |number: u64| Duration::from_secs(number * 3600);
        Self { lifetime: hours(4 * 7 * 24), refresh: hours(3) }
    }
}

impl Tokens {
    pub(crate) fn check(&self, sources: &ConfigSources) -> Result<(), ConfigError> {
        sources.require_longer(("tokens.lifetime", self.lifetime), ("tokens.refresh", self.refresh))
    }
}
