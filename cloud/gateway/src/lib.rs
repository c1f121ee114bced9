//! The server that Fedecks devices connect to, as a library on warp.
//!
//! You write a [`Handler`]: who may connect, and what becomes of what devices send. [`Fedecks`] makes
//! a warp filter of it, which mounts beside your own, and `serve` runs filters behind an accept loop
//! that is made for very many connections. The [`Hub`] is the way back to the devices: push, topics,
//! presence.
//!
//! The features `serve`, `sqlite` and `accounts` bring the accept loop, a store in one SQLite file and
//! logins by accounts. Without them there is only what mounts in a warp server of your own.
//!
#![cfg_attr(all(feature = "serve", feature = "sqlite"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "serve", feature = "sqlite")), doc = "```ignore")]
//! use std::sync::Arc;
//!
//! use fedecks_cloud::{
//!     Decision, Denylist, Fedecks, Handler, Info, InfoOutcome, Keyring, Listen, Login, Outcome,
//!     ServeOptions, Session, SqliteStore, serve,
//! };
//! use fedecks_protocol::Term;
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
//!     async fn connected(&self, session: &Session) {
//!         session.subscribe(format!("downstream.{}", session.device()));
//!     }
//!
//!     async fn handle_info(&self, _session: &Session, info: Info) -> InfoOutcome {
//!         InfoOutcome::Push(info.message)
//!     }
//!
//!     async fn handle_in(&self, session: &Session, message: Term) -> Outcome {
//!         let topic = format!("upstream.{}", session.device());
//!         match session.hub().publish(topic, message).await {
//!             Ok(()) => Outcome::Ok,
//!             Err(error) => Outcome::reply(error.to_string()),
//!         }
//!     }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let secret = std::env::var("FEDECKS_SECRET")?;
//! let salt = std::env::var("FEDECKS_SALT")?;
//! let store = Arc::new(SqliteStore::open("fedecks.sqlite")?);
//! let fedecks = Fedecks::builder(MyHandler)
//!     .keyring(Keyring::new(&secret, &salt)?)
//!     .denylist(Denylist::load(store).await?)
//!     .build()?;
//!
//! let hub = fedecks.hub();
//! let listen = vec![Listen::plain("127.0.0.1:8080".parse()?)];
//! let options = ServeOptions { listen, ..ServeOptions::default() };
//! let server = serve(fedecks.routes(), options)?;
//!
//! let mut upstream = hub.subscribe("upstream.nerves-242a");
//! hub.publish("downstream.nerves-242a", Term::from("hello")).await?;
//! println!("{:?}", *upstream.recv().await?.message);
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! # What a session does
//!
//! A device presents credentials, which the handler looks at, or a token of an earlier connection,
//! which it does not. Then one task runs its session: Welcome, a token where one is due, then the
//! handler's callbacks one after the other for what the device sends and for what is published on the
//! topics of the session. What a device sends that cannot be read is logged, counted and ignored; what
//! breaks the WebSocket protocol ends the session with 1002, a message above the limit with 1009,
//! silence for the idle timeout with 1001, and reading too slowly with 1013. Everything that waits for
//! a device waits in a queue with bounds.

#[cfg(feature = "accounts")]
mod accounts;
mod auth;
mod build_error;
mod builder;
mod close_denied;
mod connection;
mod context;
mod fedecks;
mod handler;
mod messaging;
mod options;
mod session;
mod websocket;

#[cfg(feature = "accounts")]
pub use accounts::{AccountHandler, PasswordError, hash_password};
pub use auth::api_tokens::ApiTokens;
pub use auth::denylist::{AccessChange, AccessChangeKind, Denylist};
pub use auth::device::AuthenticatedBy;
pub use auth::failed_logins::{Attempt, FailedLoginLimits, FailedLogins, TooManyFailures};
pub use auth::keyring::{Claims, Keyring, KeyringError, TokenError};
pub use build_error::BuildError;
pub use builder::Builder;
pub use fedecks::Fedecks;
pub use fedecks_edge::Peer;
#[cfg(feature = "serve")]
pub use fedecks_edge::{
    IpNet, Listen, ServeError, ServeLimits, ServeMonitor, ServeOptions, ServeStats, Server, Tls,
    TlsError, serve,
};
pub use fedecks_protocol::{
    CloseCode, CloseReason, Credentials, DeviceId, IssuedToken, Term, TermError, Token,
};
#[cfg(feature = "accounts")]
pub use fedecks_store::AccountStore;
pub use fedecks_store::{
    Actor, ApiSecret, ApiToken, ApiTokenStore, BoxFuture, DevicePattern, DeviceStore,
    ForgetOutcome, LatencyHistogram, NewApiToken, Role, Roles, StoreError,
};
#[cfg(feature = "sqlite")]
pub use fedecks_store::{SqliteStore, StoreOptions};
pub use handler::{Decision, Disconnected, Handler, InfoOutcome, Login, Outcome, SessionError};
#[cfg(any(test, feature = "conformance"))]
pub use messaging::backplane::conformance;
pub use messaging::backplane::in_process::InProcess;
pub use messaging::backplane::{Backplane, BackplaneError, DeliverError, Node, Payload};
pub use messaging::hub::{Hub, HubStats, PushError, Subscription};
pub use messaging::message::{Info, Message, Topic};
pub use messaging::presence::{
    ConnectionId, NodeId, Presence, PresenceEvent, PresenceWatch, WatchEnded,
};
pub use messaging::topics::Lagged;
pub use options::Options;
pub use session::Session;
