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

#![allow(clippy::wildcard_enum_match_arm, reason = "most events need no decision in most places")]

mod builder;
mod client;
pub mod clock;
mod dial;
mod driver;
mod error;
mod event_queue;
mod events;
mod health;
mod link;
mod log_events;
mod status;
pub mod storage;
#[cfg(test)]
mod testing;
mod tls;
mod traffic;
mod transport;
mod unsent;
mod url;

pub use builder::ClientBuilder;
pub use client::Client;
pub use error::{ClientSendError, LogoutError, ReconnectError, StartError, Stopped};
pub use events::Events;
pub use fedecks_device_core::{
    Attempt, Event, FailReason, GiveUp, LoggedIn, LoginError, LostReason, Network, NotRegistered,
    Phase, SendError, State, Stored, Time,
};
pub use fedecks_protocol::{Credentials, DeviceId, Term, TermError};
pub use health::{ClockHealth, ConnectionHealth, FailureHealth, StoreHealth, TokenHealth};
pub use status::{Failure, Status};
pub use tls::{Identity, TlsError, TlsOptions, Trust};
pub use traffic::Traffic;
pub use url::{CloudUrl, InvalidUrl};
