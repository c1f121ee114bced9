//! The server that Fedecks devices connect to, as a library on warp.
//!
//! You write a [`Handler`], which decides who may connect and what happens to the messages that devices
//! send. [`Fedecks`] turns it into a warp filter that you mount next to your own, and
//! [`serve`](mod@serve) runs filters behind an accept loop made for very many connections. The [`Hub`]
//! reaches the devices from the rest of your program: push, topics, presence.
//!
//! The features `serve`, `sqlite`, `postgres` and `accounts` add the accept loop, a store in one SQLite file, one in a
//! PostgreSQL database and logins with accounts. Without them the library contains only what you mount in your own warp server.
//!
#![cfg_attr(all(feature = "serve", feature = "sqlite"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "serve", feature = "sqlite")), doc = "```ignore")]
//! use std::sync::Arc;
//!
//! use fedecks_cloud::store::SqliteStore;
//! use fedecks_cloud::{
//!     Decision, Fedecks, Handler, Keyring, Listen, Login, Outcome, Published, Session, Term, serve,
//! };
//!
//! struct MyHandler;
//!
//! impl Handler for MyHandler {
//!     async fn authenticate(&self, login: Login<'_>) -> Decision {
//!         let credential = |name| login.credentials.text(name);
//!         match (credential("username"), credential("password")) {
//!             (Some("the_user"), Some("secure_password")) => Decision::Accept,
//!             _ => Decision::Reject,
//!         }
//!     }
//!
//!     async fn on_connect(&self, session: &Session) {
//!         session.subscribe(format!("downstream.{}", session.device()));
//!     }
//!
//!     async fn on_published(&self, _session: &Session, published: Published) -> Outcome {
//!         Outcome::Send(published.message)
//!     }
//!
//!     async fn on_message(&self, session: &Session, message: Term) -> Outcome {
//!         let topic = format!("upstream.{}", session.device());
//!         match session.hub().publish(topic, &message).await {
//!             Ok(()) => Outcome::Ok,
//!             Err(error) => Outcome::send(&error.to_string()),
//!         }
//!     }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let secret = std::env::var("FEDECKS_SECRET")?;
//! let salt = std::env::var("FEDECKS_SALT")?;
//! let store = Arc::new(SqliteStore::open("fedecks.sqlite")?);
//! let keyring = Keyring::new(&secret, &salt)?;
//! let fedecks = Fedecks::builder(MyHandler, keyring, store).build().await?;
//!
//! let hub = fedecks.hub();
//! let server = serve(fedecks.routes(), Listen::plain("127.0.0.1:8080".parse()?))?;
//!
//! let mut upstream = hub.subscribe("upstream.nerves-242a");
//! hub.publish("downstream.nerves-242a", "hello").await?;
//! while let Some(event) = upstream.next().await {
//!     println!("{event}");
//! }
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! # What a session does
//!
//! A device presents either credentials, which the handler checks, or a token from an earlier
//! connection, which the library checks. Then one task runs its session: the Welcome frame, a token if
//! one is due, then the handler's callbacks, one at a time, for each message from the device and each
//! message published on the session's topics. A frame that cannot be decoded is logged, counted and
//! ignored. The session ends with 1002 if the device breaks the WebSocket protocol, with 1009 if a
//! message exceeds the limit, with 1001 if the device is silent for the idle timeout and with 1013 if
//! it reads too slowly, or sends a message so slowly that others wait for the memory it takes. Every
//! queue is bounded, for each device and in sum.

#![deny(clippy::exhaustive_enums, clippy::exhaustive_structs)]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "matched enums are tungstenite's, or most of their variants need the same"
)]

mod access_enforcer;
#[cfg(feature = "accounts")]
pub mod accounts;
pub mod auth;
mod build_error;
mod builder;
mod byte_pool;
mod connection;
mod context;
mod fedecks;
mod handler;
pub mod messaging;
mod options;
pub mod serve;
pub mod session;
mod websocket;

pub use auth::{Denylist, Keyring};
pub use build_error::BuildError;
pub use builder::Builder;
pub use fedecks::Fedecks;
pub use fedecks_protocol as protocol;
pub use fedecks_protocol::{DeviceId, Term};
pub use fedecks_store as store;
pub use handler::{Decision, Handler, Login, Outcome};
pub use messaging::{Hub, Message, Published};
pub use options::Options;
#[cfg(feature = "serve")]
pub use serve::{Listen, ServeOptions, serve};
pub use session::Session;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// What few programs need is in a module.
    #[test]
    fn the_root_has_at_most_25_public_names() {
        let code = include_str!("lib.rs").split("#[cfg(test)]").next().unwrap();
        let mut names = BTreeSet::new();
        for item in code.split(';') {
            let Some((_, item)) = item.rsplit_once("pub ") else { continue };
            let item = item.rsplit_once(" as ").map_or(item, |(_, name)| name);
            let last = item.rsplit("::").next().unwrap_or(item).trim_start_matches("mod ");
            names.extend(last.trim_matches(['{', '}', '\n']).split(',').map(str::trim));
        }
        assert!(names.contains("Fedecks") && names.contains("auth") && names.contains("store"));
        assert!(names.len() <= 25, "{}: {names:?}", names.len());
    }
}
