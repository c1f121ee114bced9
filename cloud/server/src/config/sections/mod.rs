//! The sections of the configuration. Each file has one section: its keys with their defaults, what
//! their values must be, and what the server reads from it.

mod audit;
mod client_auth;
mod cluster;
#[cfg(feature = "postgres")]
mod database;
#[cfg(not(feature = "postgres"))]
#[path = "no_database.rs"]
mod database;
mod drain;
mod events;
mod limits;
pub(super) mod listeners;
mod log;
mod registration;
mod secrets;
mod sessions;
mod store;
mod tls;
mod tokens;
pub(super) mod webhooks;

pub(super) use audit::Audit;
pub(crate) use client_auth::ClientCertificates;
pub(crate) use cluster::Cluster;
pub(super) use cluster::ClusterKeys;
pub(crate) use database::Database;
pub(crate) use drain::Drain;
pub(crate) use events::Events;
pub(super) use limits::Limits;
pub(crate) use listeners::{Listener, Service};
pub(crate) use log::{Log, LogFormat};
pub(crate) use registration::Registration;
pub(super) use secrets::PreviousKey;
pub(crate) use secrets::Secrets;
pub(crate) use sessions::Sessions;
pub(crate) use store::StorePlace;
pub(super) use tls::Tls;
pub(crate) use tls::TlsChoice;
pub(crate) use tokens::Tokens;
pub(crate) use webhooks::Webhook;
