//! The service `fedecksd`: one [`Client`](fedecks_device::Client) for all programs of the device, which use it
//! over D-Bus.

// Most matches here pick a few cases of another crate's enum; a new variant needs no decision.
#![allow(clippy::wildcard_enum_match_arm)]

mod allocator;
mod blocking;
mod check;
mod config;
mod daemon;
mod dbus_service;
mod error;
mod health;
mod health_reporter;
mod hex;
mod identity;
mod logging;
mod login_error;
mod mounts;
mod provisioning;
mod systemd;
mod unreachable_action;
mod volatile_data;

pub use check::{CheckReport, check};
pub use config::{ConfigError, DeviceConfig};
pub use daemon::run;
pub use error::DaemonError;
pub use identity::{IdSource, NoIdentity};
pub use unreachable_action::UnreachableAction;
