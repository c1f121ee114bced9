//! Keeps one secure duplex WebSocket from a device to its cloud.
//!
//! Log in once; from then on a token signed by the cloud reconnects the device after reboots, updates
//! and outages. The token is refreshed while connected and stored in the data directory; credentials
//! are never stored.
//!
//! ```no_run
//! use fedecks_device::{Client, Credentials, DeviceId, Event};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let (url, id) = ("wss://cloud.example".parse()?, DeviceId::new("kitchen-1")?);
//! let (client, mut events) = Client::builder(url, id).data_dir("/data/fedecks").start().await?;
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Unregistered => {
//!             client.login(Credentials::new().with("username", "marvin").with("password", "42")).await?;
//!         }
//!         Event::Connected => client.send(&("temperature", 21.5)).await?,
//!         Event::Message(message) => println!("{}", message.parse::<String>()?),
//!         event => println!("{event}"),
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! The decisions are made in [`fedecks_device_core`], which does no I/O; this crate executes them.
//! The crate `fedecks-network-watch` reports network changes to it.

#![deny(clippy::exhaustive_enums, clippy::exhaustive_structs)]
#![allow(clippy::wildcard_enum_match_arm, reason = "most events need no decision in most places")]

mod builder;
mod client;
pub mod clock;
mod command;
pub mod deliveries;
mod dial;
mod driver;
pub mod error;
pub mod event;
mod event_queue;
mod events;
pub mod health;
pub mod kept;
mod link;
mod log_events;
pub mod requests;
mod status;
pub mod storage;
mod store_jobs;
#[cfg(test)]
mod testing;
mod tls;
mod traffic;
mod transport;
mod unsent;
mod url;
mod watchdog;

#[doc(inline)]
pub use builder::ClientBuilder;
#[doc(inline)]
pub use client::Client;
#[doc(inline)]
pub use events::Events;
#[doc(inline)]
pub use fedecks_device_core::{Event, LoggedIn, Network, State};
/// What both ends of the protocol agree on, such as [`Refusal`](protocol::Refusal) and
/// [`CloseCode`](protocol::CloseCode).
pub use fedecks_protocol as protocol;
#[doc(inline)]
pub use fedecks_protocol::{Credentials, DeviceId, Term};
#[doc(inline)]
pub use status::Status;
#[doc(inline)]
pub use tls::{Identity, TlsOptions, Trust};
#[doc(inline)]
pub use url::CloudUrl;
