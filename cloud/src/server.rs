//! The ready-made server, put together of the library's parts and of what only a server needs.

pub(crate) mod app;
mod certificates;
pub(crate) mod error;
mod events;
mod handler;
mod history;
mod http;
mod listeners;
mod metrics;
mod self_signed;
mod signals;
mod state;
pub(crate) mod store;
mod systemd;
mod webhooks;
