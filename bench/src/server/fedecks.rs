//! Our server, built on the library as its users build it.

use std::sync::Arc;

use fedecks_cloud::accounts::AccountHandler;
use fedecks_cloud::serve::{ServeLimits, Server, Tls};
use fedecks_cloud::store::SqliteStore;
use fedecks_cloud::{Decision, Fedecks, Handler, Listen, Login, Outcome, Session, serve};
use fedecks_protocol::Term;
use fedecks_testing::cloud::keyring;

use super::kind::ServeOptions;
use crate::error::Result;
use crate::identity::STORE;

/// Our server as its users run it: accounts, devices and revocations in SQLite, tokens checked, and a
/// handler that echoes.
pub(super) async fn start(options: &ServeOptions) -> Result<Server> {
    let store = Arc::new(SqliteStore::open(options.folder.join(STORE))?);
    let handler = Echo(AccountHandler::new(store.clone()));
    let fedecks = Fedecks::builder(handler, keyring(), store).build().await?;
    let tls = match &options.tls {
        None => None,
        Some((certificate, key)) => Some(Tls::from_pem_files(certificate, key)?),
    };
    // As many connections as one process may have open here, at any rate.
    let limits = ServeLimits::default().with(|it| {
        it.connections = 20_000;
        it.connections_per_address = 20_000;
        it.accepts_per_second = 100_000;
        it.accept_burst = 20_000;
    });
    let listen = Listen::plain(([127, 0, 0, 1], 0).into()).with(|it| {
        it.tls = tls;
        it.upgrades = Some(fedecks.upgrades());
    });
    let options = fedecks_cloud::ServeOptions::from(listen).with(|it| it.limits = limits);
    Ok(serve(fedecks.routes(), options)?)
}

struct Echo(AccountHandler);

impl Handler for Echo {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        self.0.authenticate(login).await
    }

    async fn on_message(&self, _: &Session, message: Term) -> Outcome {
        Outcome::Send(message.into())
    }
}
