//! The ready-made server `fedecks-cloud`: the library of the same name with accounts, an HTTP API,
//! events, webhooks, metrics and a dashboard. [`run`] is the program, [`App`] the server inside
//! another process, for tests.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a new variant seldom needs a decision here; the protocol and the device\'s core keep the lint"
)]

mod app;
mod audit_trail;
mod certificates;
mod claims;
mod cli;
mod clock;
mod cluster;
mod config;
mod dashboard_sessions;
mod device_messages;
mod error;
mod event_kind;
mod events;
mod expiry;
mod handler;
mod history;
mod http;
mod lease;
mod listeners;
mod metrics;
mod opened;
mod own_node;
mod owner;
mod preflight;
mod registrations;
mod request_memory;
mod running;
mod self_signed;
mod signals;
mod state;
mod store;
mod systemd;
mod webhook_signature;
mod webhooks;

pub use app::App;
pub use cli::run;
