//! Devices that come back with a token, accepted before HTTP. All others are answered by the filter in `routes`.

use std::sync::Arc;

use fedecks_edge::{Peer, Socket as PlainSocket, Task, UpgradeHandler, UpgradeHead, Upgrades};
use http::Method;

use super::handshake::Handshake;
use super::socket::Socket;
use crate::auth::device::AuthenticatedDevice;
use crate::auth::{authenticate_by_token, read_request};
use crate::context::GatewayContext;
use crate::fedecks::Fedecks;
use crate::handler::Handler;
use crate::session::run;

impl<H: Handler> Fedecks<H> {
    /// Accepts devices with tokens, at [`Options::path`](crate::Options::path), before HTTP, which takes a quarter less
    /// for each. All others, and those that are refused, are left to [`Fedecks::routes`], which has to be part of the
    /// filter and at the same path.
    ///
    /// ```no_run
    /// # use fedecks_cloud::{Fedecks, Handler, Listen, serve};
    /// # fn example<H: Handler>(fedecks: &Fedecks<H>) -> Result<(), Box<dyn std::error::Error>> {
    /// let listen = Listen::plain("127.0.0.1:8080".parse()?);
    /// let listen = listen.with(|it| it.upgrades = Some(fedecks.upgrades()));
    /// let server = serve(fedecks.routes(), listen)?;
    /// # drop(server);
    /// # Ok(()) }
    /// ```
    pub fn upgrades(&self) -> Upgrades {
        Upgrades::new(TokenUpgrades(self.0.clone()))
    }
}

/// Accepts upgrades by token.
struct TokenUpgrades<H>(Arc<GatewayContext<H>>);

impl<H: Handler> UpgradeHandler for TokenUpgrades<H> {
    fn accept(
        &self,
        head: &UpgradeHead<'_>,
        rest: &[u8],
        peer: &Peer,
        socket: PlainSocket,
    ) -> Result<Task, PlainSocket> {
        let Self(context) = self;
        let Some((device, handshake)) = self.device(head, peer) else { return Err(socket) };
        let max_frame = context.options.max_frame as usize;
        let mut socket = Socket::new(socket.upgraded(), rest, max_frame);
        socket.respond(&handshake.response(device.dialect()));
        Ok(run::begin(context.clone(), device, socket))
    }
}

impl<H: Handler> TokenUpgrades<H> {
    /// The device, if everything is as it has to be.
    fn device(
        &self,
        head: &UpgradeHead<'_>,
        peer: &Peer,
    ) -> Option<(AuthenticatedDevice, Handshake)> {
        let Self(context) = self;
        let path = context.options.path.trim_start_matches('/');
        head.path().strip_prefix('/').filter(|tail| *tail == path)?;
        let (handshake, ()) = Handshake::check(&Method::GET, head, Some(())).ok()?;
        let (request, dialect) = read_request(context, head).ok()?;
        Some((authenticate_by_token(context, request, dialect, peer)?, handshake))
    }
}
