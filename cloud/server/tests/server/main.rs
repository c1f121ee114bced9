//! The real server, real devices and everything that it answers over HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail")]

mod api;
mod browser;
mod dashboard;
mod devices;
mod metrics;
mod monitoring;
mod operations;
mod reverse_proxies;
mod store_faults;
mod storm;
mod support;
mod webhooks;
