//! What you write: the handler's callbacks, and what they are given and answer.

use std::net::SocketAddr;
use std::time::Duration;

use fedecks_protocol::{CloseCode, CloseReason, Credentials, DeviceId, Refusal, Term};

use crate::messaging::message::{Info, Message};
use crate::messaging::presence::Presence;
use crate::session::Session;
use crate::session::error::{Disconnected, SessionError};

/// What you write: what the cloud does with its devices. Only `authenticate` has to be there; write
/// the others as `async fn` where you need them.
///
/// The callbacks that take a [`Session`] run in that session's own task, one at a time. While one
/// runs, nothing else of that session goes on: no further message is handled and nothing is sent but
/// pongs; other sessions are not held up. When the session has to end meanwhile, because the device
/// connected anew, say, the callback gets 5 seconds to come to its end, and is dropped at its `await`
/// after that. One that takes longer than the idle timeout is dropped too, and the session closes
/// with 1011. A callback that panics ends its session with 1011, and no other.
pub trait Handler: Send + Sync + 'static {
    /// Says whether a device is who it says it is, by the credentials that it logs in with. Called
    /// before the connection is upgraded, and only for devices that present no token.
    ///
    /// An answer that takes longer than 30 seconds, or a panic, is [`Decision::Unavailable`].
    fn authenticate(&self, login: Login<'_>) -> impl Future<Output = Decision> + Send;

    /// A device is connected, by token or by credentials. The place to subscribe the session to
    /// topics: nothing that the device sends is handled before this has ended.
    fn connected(&self, session: &Session) -> impl Future<Output = ()> + Send {
        let _ = session;
        async {}
    }

    /// The device sent a term.
    fn handle_in(&self, session: &Session, message: Term) -> impl Future<Output = Outcome> + Send {
        let _ = (session, message);
        async { Outcome::Ok }
    }

    /// The device sent bytes that the protocol does not look into.
    fn handle_raw_in(
        &self,
        session: &Session,
        bytes: Vec<u8>,
    ) -> impl Future<Output = Outcome> + Send {
        let _ = (session, bytes);
        async { Outcome::Ok }
    }

    /// Something was published on a topic that the session is subscribed to. It reaches the device
    /// only by [`Outcome::Send`].
    fn handle_info(&self, session: &Session, info: Info) -> impl Future<Output = Outcome> + Send {
        let _ = (session, info);
        async { Outcome::Ok }
    }

    /// A connection was refused, before there was a session: of this device, if it came so far as to
    /// say which one it is.
    fn refused(&self, device: Option<&DeviceId>, refusal: Refusal, peer: Option<SocketAddr>) {
        let _ = (device, refusal, peer);
    }

    /// A session ends by an error. [`Handler::disconnected`] follows.
    fn socket_error(&self, presence: &Presence, error: &SessionError) {
        let _ = (presence, error);
    }

    /// A session is over: called once for each session, after everything else. The device may be
    /// connected anew by then, which `presence.connection` tells.
    fn disconnected(&self, presence: &Presence, why: &Disconnected) {
        let _ = (presence, why);
    }
}

/// A device that wants to be let in by credentials.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// Which device it says it is.
    pub device: &'a DeviceId,
    /// What it shows for that.
    pub credentials: &'a Credentials,
    /// Where it comes from, if the server says so: `serve` does, see [`Peer::address`](crate::serve::Peer).
    pub peer: Option<SocketAddr>,
}

/// What becomes of a device that logs in by credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is who it says it is: it is connected, and gets a token.
    Accept,
    /// It is not: refused with 401.
    Reject,
    /// It may not connect, whoever vouches for it: refused with 403.
    Blocked,
    /// It tried too often: refused with 429.
    RateLimited {
        /// When it may try again, in whole seconds, at least one.
        retry_after: Duration,
    },
    /// This cannot be said now: refused with 503.
    Unavailable {
        /// When to try again, in whole seconds, at least one.
        retry_after: Duration,
    },
}

/// What to do after a message from the device, or one that was published.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Nothing.
    Ok,
    /// Send a term to the device. Forwarding the message that was published costs no copy.
    Send(Message),
    /// Send bytes to the device.
    SendRaw(Vec<u8>),
    /// Close the session.
    Stop(CloseReason),
}

impl Outcome {
    /// Sends a term to the device.
    pub fn send(term: impl Into<Term>) -> Self {
        Self::Send(Message::from(term.into()))
    }

    /// Closes the session with 1008, after which a device stays away for minutes.
    pub fn stop() -> Self {
        Self::Stop(CloseReason::new(CloseCode::Policy))
    }
}
