//! The trait that you implement, and what its callbacks receive and return.

use std::net::SocketAddr;
use std::time::Duration;

use fedecks_protocol::{CloseCode, CloseReason, Credentials, DeviceId, Refusal, Term};
use serde::Serialize;

use crate::auth::CertificateLogin;
use crate::messaging::down::SettledMessage;
use crate::messaging::kept::{Effects, KeptContent, KeptMessage};
use crate::messaging::message::{Message, Published};
use crate::messaging::presence::Presence;
use crate::messaging::request::RequestOutcome;
use crate::session::Session;
use crate::session::error::{Disconnected, SessionError};

/// What your cloud does with its devices. Only `authenticate` is required; write the other callbacks as
/// `async fn` if you need them.
///
/// ```
/// use fedecks_cloud::{Decision, Handler, Login, Outcome, Session, Term};
///
/// struct Thermostats;
///
/// impl Handler for Thermostats {
///     async fn authenticate(&self, login: Login<'_>) -> Decision {
///         Decision::accept_if(login.credentials.text("password") == Some("forty-two-towels"))
///     }
///
///     async fn on_message(&self, session: &Session, message: Term) -> Outcome {
///         match message.parse::<(String, f64)>() {
///             Ok((name, celsius)) => Outcome::send(&format!("{name} of {} is {celsius}", session.device())),
///             Err(error) => Outcome::send(&error.to_string()),
///         }
///     }
/// }
/// ```
///
/// The callbacks that take a [`Session`] run in that session's task, one at a time. While one runs, the
/// session handles no other message and sends nothing but pongs, acknowledgements and signs of life; other
/// sessions are not affected. If the session has to end in the meantime, for example because the device has
/// reconnected, the callback gets 5 seconds to complete and is then dropped at its `await`. A callback that
/// takes longer than the idle timeout is dropped too, and the session closes with 1011. A callback that
/// panics closes its session with 1011, and no other.
pub trait Handler: Send + Sync + 'static {
    /// Checks the credentials of a device. Called before the connection is upgraded, and only for devices
    /// that present credentials instead of a token.
    ///
    /// Taking longer than 30 seconds, or panicking, counts as [`Decision::Unavailable`].
    fn authenticate(&self, login: Login<'_>) -> impl Future<Output = Decision> + Send;

    /// A device has connected, with a token or with credentials. Subscribe the session to its topics here:
    /// messages from the device are handled only after this callback has completed.
    fn on_connect(&self, session: &Session) -> impl Future<Output = ()> + Send {
        let _ = session;
        async {}
    }

    /// The device sent a term.
    fn on_message(&self, session: &Session, message: Term) -> impl Future<Output = Outcome> + Send {
        let _ = (session, message);
        async { Outcome::Ok }
    }

    /// The device sent bytes that the protocol does not interpret.
    fn on_raw(&self, session: &Session, bytes: Vec<u8>) -> impl Future<Output = Outcome> + Send {
        let _ = (session, bytes);
        async { Outcome::Ok }
    }

    /// The device sent a message that it keeps until it is acknowledged. By default it is handled like any other, by
    /// [`Handler::on_message`] or [`Handler::on_raw`], and acknowledged once that has completed.
    ///
    /// The same message comes again if the acknowledgement did not become durable, with the same id and
    /// [`redelivered`](KeptMessage::redelivered). What is stored as its [`Effects`] is stored
    /// once. If this callback panics or hangs three times for the same message, that is rejected.
    ///
    /// What several messages effect is stored in one transaction, at the latest 250 ms after the first of them was
    /// handled and the callback for the next one has completed. It is also stored if the session ends, or this
    /// callback closes it.
    ///
    /// ```
    /// use fedecks_cloud::messaging::{KeptContent, KeptMessage, KeptOutcome};
    /// use fedecks_cloud::{Decision, Handler, Login, Session};
    ///
    /// struct Readings;
    ///
    /// impl Handler for Readings {
    ///     async fn authenticate(&self, _login: Login<'_>) -> Decision {
    ///         Decision::Accept
    ///     }
    ///
    ///     async fn on_kept(&self, session: &Session, message: KeptMessage) -> KeptOutcome {
    ///         let KeptContent::Term(reading) = message.content else {
    ///             return KeptOutcome::Rejected { reason: "not a reading".to_owned() };
    ///         };
    ///         // The device and the id together tell whether this one was saved before.
    ///         match save(session.device().as_str(), message.id.0, &format!("{reading:?}")).await {
    ///             Ok(()) => KeptOutcome::done(),
    ///             Err(_) => KeptOutcome::Later,
    ///         }
    ///     }
    /// }
    /// # async fn save(_: &str, _: u64, _: &str) -> std::io::Result<()> { Ok(()) }
    /// ```
    fn on_kept(
        &self,
        session: &Session,
        message: KeptMessage,
    ) -> impl Future<Output = KeptOutcome> + Send {
        async move {
            let outcome = match message.content {
                KeptContent::Term(term) => self.on_message(session, term).await,
                KeptContent::Raw(bytes) => self.on_raw(session, bytes).await,
            };
            outcome.into()
        }
    }

    /// The device asks. It waits for the answer for as long as it has granted, at most 10 minutes; like every callback,
    /// this one has up to the idle timeout. By default there is no answer, and the device learns why.
    fn on_request(
        &self,
        session: &Session,
        question: Term,
    ) -> impl Future<Output = RequestOutcome> + Send {
        let _ = (session, question);
        async { RequestOutcome::Unhandled }
    }

    /// Messages that are [kept for a device](crate::Hub::send_kept) have reached their final state: the device has taken
    /// or rejected them, or they have expired or were dropped. The store has it already.
    ///
    /// Called once for each message, except that a crash of the process, or of the machine, at that moment loses the
    /// call: ask the store for a message's state where that matters. Must not block. A panic closes the session with
    /// 1011.
    fn on_settled(&self, device: &DeviceId, settled: &[SettledMessage]) {
        let _ = (device, settled);
    }

    /// Something was published on a topic that the session is subscribed to. It reaches the device
    /// only by [`Outcome::Send`].
    fn on_published(
        &self,
        session: &Session,
        published: Published,
    ) -> impl Future<Output = Outcome> + Send {
        let _ = (session, published);
        async { Outcome::Ok }
    }

    /// A connection was refused before there was a session. The device is known if its request could be
    /// parsed.
    fn on_refused(&self, device: Option<&DeviceId>, refusal: Refusal, peer: Option<SocketAddr>) {
        let _ = (device, refusal, peer);
    }

    /// A session ended with an error. [`Handler::on_disconnect`] follows.
    fn on_error(&self, presence: &Presence, error: &SessionError) {
        let _ = (presence, error);
    }

    /// A session has ended. Called exactly once for each session, after everything else. The device may
    /// have reconnected by then, with another `presence.connection`.
    fn on_disconnect(&self, presence: &Presence, reason: &Disconnected) {
        let _ = (presence, reason);
    }
}

/// A login with credentials.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Login<'a> {
    /// The device that claims to log in.
    pub device: &'a DeviceId,
    /// Its credentials.
    pub credentials: &'a Credentials,
    /// Its address, if the accept loop provides it as `serve` does, see [`Peer::address`](crate::serve::Peer).
    pub peer: Option<SocketAddr>,
    /// Its client certificate, if it has presented one: it was verified, and is in the name of the device.
    pub certificate: Option<CertificateLogin<'a>>,
    /// Whether a device with this id has a session that has answered within two heartbeats.
    pub in_use: bool,
    /// The time of the cloud's clock, in seconds since 1970-01-01 UTC.
    pub at: u64,
}

impl Login<'_> {
    /// Whether the device presents its certificate and nothing else.
    pub fn is_certificate_alone(&self) -> bool {
        // The nonce proves nothing.
        self.certificate.is_some() && self.credentials.iter().all(|(key, _)| key == "nonce")
    }
}

/// The result of a login with credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The credentials are right: the device is connected and gets a token.
    Accept,
    /// The same, after the generation of the device's tokens was raised to this one: its new token is of it, and earlier
    /// ones are revoked.
    AcceptAt {
        /// The generation.
        generation: u64,
    },
    /// The credentials are wrong: refused with 401.
    Reject,
    /// Refused for this reason.
    Refuse {
        /// The reason.
        refusal: Refusal,
        /// When the device may try again, in whole seconds, at least one; only for a reason with a status of 429 or 503.
        retry_after: Option<Duration>,
    },
    /// The device may not connect, whatever its credentials: refused with 403.
    Blocked,
    /// Too many attempts: refused with 429.
    RateLimited {
        /// When the device may try again, in whole seconds, at least one.
        retry_after: Duration,
    },
    /// The credentials cannot be checked at the moment: refused with 503.
    Unavailable {
        /// When the device should try again, in whole seconds, at least one.
        retry_after: Duration,
    },
}

/// What to do after a message from the device, or one that was published.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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

/// What the handler makes of a [`KeptMessage`].
#[derive(Debug)]
#[non_exhaustive]
pub enum KeptOutcome {
    /// It is handled. The effects are stored together with the position of the device, and then it is acknowledged.
    Done {
        /// What to do besides.
        outcome: Outcome,
        /// What to store.
        effects: Effects,
    },
    /// It cannot be handled now. It comes again after a while, from 1 s to 60 s, and those after it in its lane wait.
    Later,
    /// It will never be handled. It is acknowledged as rejected, and the device drops it.
    Rejected {
        /// Why, for the log.
        reason: String,
    },
}

impl Decision {
    /// [`Decision::Accept`] if the credentials are `right`, otherwise [`Decision::Reject`].
    pub fn accept_if(right: bool) -> Self {
        if right { Self::Accept } else { Self::Reject }
    }
}

impl Outcome {
    /// Sends any serializable value to the device. One that cannot be represented as a [`Term`] is a bug of the
    /// program, like a panic: it is logged, and the session is closed with 1011.
    pub fn send<T: Serialize + ?Sized>(value: &T) -> Self {
        match Message::new(value) {
            Ok(message) => Self::Send(message),
            Err(error) => {
                tracing::error!(%error, "the handler sends a value that is not a term");
                Self::Stop(CloseReason::new(CloseCode::InternalError))
            }
        }
    }

    /// Closes the session with 1008, after which a device stays away for minutes.
    pub fn stop() -> Self {
        Self::Stop(CloseReason::new(CloseCode::Policy))
    }
}

impl KeptOutcome {
    /// It is handled, and nothing is to be stored but that.
    pub fn done() -> Self {
        Outcome::Ok.into()
    }
}

impl From<Outcome> for KeptOutcome {
    fn from(outcome: Outcome) -> Self {
        Self::Done { outcome, effects: Effects::default() }
    }
}

impl From<Effects> for KeptOutcome {
    fn from(effects: Effects) -> Self {
        Self::Done { outcome: Outcome::Ok, effects }
    }
}
