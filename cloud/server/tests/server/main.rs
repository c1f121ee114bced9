//! The server as devices, API clients, browsers and operators see it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail")]

mod api;
mod api_description;
mod audit;
mod browser;
mod browser_claims;
mod browser_messages;
mod browser_tabs;
mod claims;
mod claims_api;
mod consumers;
mod dashboard;
mod device_messages;
mod device_messages_model;
mod device_requests;
mod event_floods;
mod full;
mod guessing;
mod haproxy;
mod hostile;
mod kept;
mod leases;
mod limits;
mod literal_json;
mod message_ids;
mod methods;
mod migration;
mod monitoring;
mod operations;
mod postgres;
mod restored;
mod reverse_proxies;
mod several;
mod several_containers;
mod several_devices;
mod several_rebalance;
mod standby;
mod store_faults;
mod storm;
mod support;
mod webhook_faults;
mod webhooks;
mod wrong_clocks;
