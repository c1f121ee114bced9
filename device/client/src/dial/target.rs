//! What all attempts have in common: the cloud, how to connect to it, and what is remembered of its addresses.

use std::fmt;

use fedecks_protocol::{Dialect, Limits};

use super::history::History;
use super::resolver::Resolver;
use crate::tls::{Tls, TlsError, TlsOptions, TrustedTime};
use crate::traffic::TrafficCounters;
use crate::url::CloudUrl;

/// The cloud to connect to, and how.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(super) url: CloudUrl,
    /// `Some` for `wss://`.
    pub(super) tls: Option<Tls>,
    pub(super) dialect: Dialect,
    pub(super) max_message: usize,
    pub(super) traffic: TrafficCounters,
    pub(super) resolver: Resolver,
    pub(super) history: History,
}

impl Target {
    /// The cloud at `url`. With `wss://`, reads the files that `options` names.
    pub(crate) fn new(
        url: CloudUrl,
        options: &TlsOptions,
        time: TrustedTime,
        dialect: Dialect,
        limits: &Limits,
    ) -> Result<Self, TlsError> {
        let tls = if url.is_secure() { Some(Tls::new(options, time)?) } else { None };
        let max_message = limits.max_size.min(Limits::MAX_SIZE);
        Ok(Self {
            resolver: Resolver::new(url.host().to_str().into_owned(), url.port()),
            url,
            tls,
            dialect,
            max_message,
            traffic: TrafficCounters::default(),
            history: History::default(),
        })
    }

    /// The counters of all connections to this target.
    pub(crate) fn traffic(&self) -> TrafficCounters {
        self.traffic.clone()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}
