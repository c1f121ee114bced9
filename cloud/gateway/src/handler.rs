//! What you write: the handler's callbacks, and what they are given and answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use fedecks_protocol::{CloseCode, CloseReason, Credentials, DeviceId, Refusal, Term};

use crate::messaging::message::{Info, Message};
use crate::messaging::presence::Presence;
use crate::session::Session;

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

    /// Something was published on a topic that the session is subscribed to. What is not turned into
    /// a [`InfoOutcome::Push`] does not reach the device.
    fn handle_info(
        &self,
        session: &Session,
        info: Info,
    ) -> impl Future<Output = InfoOutcome> + Send {
        let _ = (session, info);
        async { InfoOutcome::Ok }
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
    /// Where it comes from, if the server says so: `serve` does, see [`Peer::address`](crate::Peer).
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

/// What follows from something that the device sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Nothing.
    Ok,
    /// A term goes back to the device.
    Reply(Message),
    /// Bytes go back to the device.
    ReplyRaw(Vec<u8>),
    /// The session ends.
    Stop(CloseReason),
}

/// What follows from something that was published.
#[derive(Debug, Clone, PartialEq)]
pub enum InfoOutcome {
    /// Nothing.
    Ok,
    /// A term goes to the device. Pushing the message that came costs no copy.
    Push(Message),
    /// Bytes go to the device.
    PushRaw(Vec<u8>),
    /// The session ends.
    Stop(CloseReason),
}

impl Outcome {
    /// A term goes back to the device.
    pub fn reply(term: impl Into<Term>) -> Self {
        Self::Reply(Message::from(term.into()))
    }

    /// The session ends with 1008, which a device takes for a reason to stay away for minutes.
    pub fn stop() -> Self {
        Self::Stop(CloseReason::new(CloseCode::Policy))
    }
}

impl InfoOutcome {
    /// A term goes to the device.
    pub fn push(term: impl Into<Term>) -> Self {
        Self::Push(Message::from(term.into()))
    }

    /// The session ends with 1008, which a device takes for a reason to stay away for minutes.
    pub fn stop() -> Self {
        Self::Stop(CloseReason::new(CloseCode::Policy))
    }
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnected {
    /// The device closed it.
    ByDevice(CloseReason),
    /// The cloud closed it: replaced, revoked, restarted, by the handler or the hub.
    ByCloud(CloseReason),
    /// By an error, which [`Handler::socket_error`] was told.
    ByError,
    /// The task was dropped, when the runtime shut down.
    Abandoned,
}

/// What ends a session otherwise than on purpose.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nothing came for the idle timeout, not even a ping.
    #[error("nothing came for {} s", .0.as_secs())]
    Idle(Duration),
    /// The connection ended without a close frame.
    #[error("the connection ended: {0}")]
    Lost(#[source] io::Error),
    /// The device broke the WebSocket protocol.
    #[error("the device broke the WebSocket protocol: {0}")]
    Protocol(String),
    /// The device sent a message above the limit that Welcome told.
    #[error("the device sent {size} bytes, at most {limit} are allowed")]
    TooBig {
        /// How many, as far as was known.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The device did not read what was sent to it, and its queue overflowed or stood still.
    #[error("the device reads too slowly")]
    TooSlow,
    /// A callback of the handler panicked.
    #[error("the handler panicked")]
    Panicked,
    /// A callback of the handler did not come to its end.
    #[error("the handler took longer than {} s", .0.as_secs())]
    Stuck(Duration),
}

impl SessionError {
    /// The code that the session closes with; `None` where there is nobody left to tell.
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Lost(_) => None,
            Self::Idle(_) => Some(CloseCode::GoingAway),
            Self::Protocol(_) => Some(CloseCode::ProtocolError),
            Self::TooBig { .. } => Some(CloseCode::TooBig),
            Self::TooSlow => Some(CloseCode::Overloaded),
            Self::Panicked | Self::Stuck(_) => Some(CloseCode::InternalError),
        }
    }
}
