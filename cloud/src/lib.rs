//! The server that Fedecks devices connect to, as a library on warp.

mod accounts;
mod auth;
mod backplane;
mod fedecks;
mod handler;
mod hub;
mod mailbox;
mod message;
mod presence;
mod registry;
mod revocations;
mod routes;
mod serve;
mod session;
mod socket;
mod store;
mod tokens;
mod topics;

pub use accounts::{
    AccountHandler, InvalidAccountName, PasswordError, check_account_name, hash_password,
};
pub use auth::AuthenticatedBy;
pub use backplane::{Backplane, BackplaneError, InProcess, Node, NotPushed, Payload};
pub use fedecks::{BuildError, Builder, Fedecks, Options};
pub use fedecks_protocol::{
    CloseCode, CloseReason, Credentials, DeviceId, IssuedToken, Term, TermError, Token,
};
pub use handler::{Decision, Disconnected, Handler, InfoOutcome, Outcome, SessionError};
pub use hub::{Hub, HubStats, PushError, Subscription};
pub use message::{Info, Message, Topic};
pub use presence::{ConnectionId, NodeId, Presence, PresenceEvent, PresenceWatch, WatchEnded};
pub use revocations::Revocations;
pub use serve::{Peer, ServeError, ServeLimits, ServeOptions, Server, Tls, TlsError, serve};
pub use session::Session;
pub use store::{Account, BoxFuture, DeviceRecord, Revocation, SqliteStore, Store, StoreError};
pub use tokens::{Claims, Keyring, KeyringError, TokenError};
pub use topics::Missed;
