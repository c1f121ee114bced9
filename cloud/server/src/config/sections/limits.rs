//! `[limits]`: what clients may cost before the server knows who they are.

use std::time::Duration;

use fedecks_cloud::auth::FailedLoginLimits;
use fedecks_cloud::serve::ServeLimits;
use serde::Deserialize;

use crate::config::values::{MAX_U32, NO_MAX, number, positive};
use crate::request_memory::RequestMemoryLimits;

/// See [`ServeLimits`] and [`FailedLoginLimits`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    #[serde(deserialize_with = "number::<_, _, 1, MAX_U32>")]
    connections: u32,
    #[serde(deserialize_with = "number::<_, _, 1, MAX_U32>")]
    connections_per_address: u32,
    #[serde(deserialize_with = "number::<_, _, 1, MAX_U32>")]
    accepts_per_second: u32,
    #[serde(deserialize_with = "number::<_, _, 1, MAX_U32>")]
    accept_burst: u32,
    #[serde(deserialize_with = "positive")]
    handshake: Duration,
    #[serde(deserialize_with = "positive")]
    http_idle: Duration,
    #[serde(deserialize_with = "positive")]
    request_body: Duration,
    #[serde(deserialize_with = "number::<_, _, 1, MAX_U32>")]
    failed_logins_per_address: u32,
    #[serde(deserialize_with = "number::<_, _, 1, MAX_U32>")]
    failed_logins_per_account: u32,
    #[serde(deserialize_with = "number::<_, _, 8192, 1_048_576>")]
    pub(crate) request_head: usize,
    /// How many bytes the API's requests in progress and their responses may take, in sum, for each token
    /// and for each address.
    #[serde(deserialize_with = "number::<_, _, LEAST_MEMORY, NO_MAX>")]
    request_bytes: usize,
    #[serde(deserialize_with = "number::<_, _, LEAST_MEMORY, NO_MAX>")]
    request_bytes_per_token: usize,
    #[serde(deserialize_with = "number::<_, _, LEAST_MEMORY, NO_MAX>")]
    request_bytes_per_address: usize,
}

/// The least that requests may take, in bytes: the largest page of a list fits.
const LEAST_MEMORY: i64 = 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        let serve = ServeLimits::default();
        let failed_logins = FailedLoginLimits::default();
        Self {
            connections: serve.connections,
            connections_per_address: serve.connections_per_address,
            accepts_per_second: serve.accepts_per_second,
            accept_burst: serve.accept_burst,
            handshake: serve.handshake,
            http_idle: serve.http_idle,
            request_body: serve.request_body,
            failed_logins_per_address: failed_logins.per_address,
            failed_logins_per_account: failed_logins.per_account,
            request_head: serve.request_head,
            request_bytes: 64 * 1024 * 1024,
            request_bytes_per_token: 32 * 1024 * 1024,
            request_bytes_per_address: 32 * 1024 * 1024,
        }
    }
}

impl Limits {
    pub(crate) fn serve_limits(&self) -> ServeLimits {
        ServeLimits::default().with(|it| {
            it.connections = self.connections;
            it.connections_per_address = self.connections_per_address;
            it.accepts_per_second = self.accepts_per_second;
            it.accept_burst = self.accept_burst;
            it.handshake = self.handshake;
            it.http_idle = self.http_idle;
            it.request_body = self.request_body;
            it.request_head = self.request_head;
        })
    }

    pub(crate) fn request_memory(&self) -> RequestMemoryLimits {
        RequestMemoryLimits {
            sum: self.request_bytes,
            per_token: self.request_bytes_per_token,
            per_address: self.request_bytes_per_address,
        }
    }

    pub(crate) fn failed_logins(&self) -> FailedLoginLimits {
        let mut limits = FailedLoginLimits::default();
        limits.per_address = self.failed_logins_per_address;
        limits.per_account = self.failed_logins_per_account;
        limits
    }
}
