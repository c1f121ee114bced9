//! What the tests and the bench share: waiting with a deadline, certificates, clouds, devices, HTTP,
//! networks and a browser. For development only; no program depends on it.

// Test helpers fail by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(feature = "browser")]
pub mod browser;
pub mod certificates;
pub mod cloud;
#[cfg(feature = "server")]
pub mod cloud_process;
pub mod device;
pub mod fleet_history;
pub mod history;
#[cfg(feature = "server")]
pub mod http;
pub mod inbox;
pub mod namespace;
pub mod nats;
pub mod openssl;
pub mod postgres;
pub mod process_group;
pub mod raw_cloud;
pub mod raw_device;
pub mod recorder;
pub mod registration;
pub mod relay;
pub mod tcp_relay;
pub mod trials;
pub mod unread_log;
pub mod wait;
#[cfg(feature = "server")]
pub mod wall_clock;

/// The account that the clouds of the tests have.
pub const USER: &str = "marvin";
/// Its password.
pub const PASSWORD: &str = "forty-two towels";
/// What the clouds of the tests seal tokens with.
pub const SECRET: &str = "a secret of enough characters for a test, 64 of them or so......";
/// The salt that goes with [`SECRET`].
pub const SALT: &str = "a salt of enough characters";
