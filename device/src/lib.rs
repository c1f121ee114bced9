//! Keeps one secure duplex WebSocket from a device to its cloud.
//!
//! Log in once; from then on a token that the cloud signs brings the device back after reboots,
//! updates and outages. The token is refreshed while connected and kept in the data folder; no
//! credential stays on the device.
//!
//! ```no_run
//! use fedecks_device::{Client, Credentials, DeviceId, Event};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("wss://cloud.example".parse()?, DeviceId::new("kitchen-1")?)
//!     .data_dir("/data/fedecks")
//!     .start()?;
//! let mut events = client.subscribe();
//! if client.status().token_expires_at.is_none() {
//!     client.login(Credentials::new().with("username", "marvin").with("password", "42")).await?;
//! }
//! client.send(&("temperature", 21.5)).await?;
//! while let Ok(event) = events.next().await {
//!     if let Event::Message(term) = event {
//!         println!("the cloud says {term:?}");
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! The decisions are made in [`fedecks_device_core`], which does no I/O; this crate carries them out.

mod blocking;
mod client;
mod clock;
mod config;
pub mod daemon;
pub mod dbus;
mod device_health;
mod dial;
mod driver;
mod durable;
mod events;
mod health;
mod hex;
mod identity;
mod link;
mod logging;
mod network;
mod provisioning;
mod report;
mod report_health;
mod status;
mod store;
mod system_bus;
mod tls;
mod traffic;
mod transport;
mod trusted_time;
mod unreachable;
mod url;
mod verify;

pub use client::{
    Client, ClientBuilder, ClientSendError, LogoutError, ReconnectError, StartError, Stopped,
};
pub use clock::utc;
pub use config::{ConfigError, DeviceConfig, parse_duration};
pub use durable::StoreError;
pub use events::{Subscription, SubscriptionError};
pub use fedecks_device_core::{
    Attempt, Event, FailReason, LoggedIn, LoginError, LostReason, Network, NotRegistered, Phase,
    SendError, State, Stored, Time,
};
pub use fedecks_protocol::{Credentials, DeviceId, Term, TermError};
pub use health::{ClockHealth, ConnectionHealth, FailureHealth, StoreHealth, TokenHealth};
pub use identity::{DeviceIdentity, IdSource, NoIdentity};
pub use network::{InvalidNetworkWatch, NetworkWatch, watch_network};
pub use provisioning::{ProvisioningReport, SourceKind, SourceReport, SourceState};
pub use status::{Failure, Status};
pub use tls::{Identity, TlsError, TlsOptions, Trust};
pub use traffic::Traffic;
pub use unreachable::UnreachableAction;
pub use url::{CloudUrl, InvalidUrl};
