//! Everything that the server answers over HTTP. `root` puts it together.

mod accept;
mod api;
mod browser_session;
mod caller;
mod dashboard;
pub(crate) mod health;
mod metrics;
mod problem;
mod reading;
mod response;
pub(crate) mod root;
mod security_headers;
