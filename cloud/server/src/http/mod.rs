//! Everything that the server answers over HTTP.

mod api;
mod auth;
pub(crate) mod dashboard;
pub(crate) mod health;
mod metrics;
mod problem;
mod response;
pub(crate) mod router;
mod security_headers;
