//! A handler with one account that records what devices do.

use fedecks_cloud::auth::AuthenticatedBy;
use fedecks_cloud::messaging::RequestOutcome;
use fedecks_cloud::{Decision, Handler, Login, Outcome, Published, Session, Term};
use tokio::sync::mpsc::UnboundedSender;

use crate::{PASSWORD, USER};

/// What a device did.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// It connected.
    Connected(By),
    /// It sent a message.
    Message(Term),
    /// It sent bytes.
    Raw(Vec<u8>),
}

/// How a device proved itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// By [`USER`] and [`PASSWORD`].
    Credentials,
    /// By a token of an earlier connection.
    Token,
}

/// Accepts [`USER`] with [`PASSWORD`], pushes to a device what is published on [`topic`], and answers `time?`.
pub struct Recorder(pub UnboundedSender<Seen>);

/// The topic whose messages are pushed to this device.
pub fn topic(device: &str) -> String {
    format!("to.{device}")
}

impl By {
    /// The way the device of this session did.
    pub fn of(session: &Session) -> Self {
        match session.authenticated_by() {
            AuthenticatedBy::Token { .. } => Self::Token,
            AuthenticatedBy::Credentials | _ => Self::Credentials,
        }
    }
}

/// Accepts [`USER`] with [`PASSWORD`].
pub fn decide(login: &Login<'_>) -> Decision {
    let word = |name| login.credentials.text(name);
    let known = word("username") == Some(USER) && word("password") == Some(PASSWORD);
    if known { Decision::Accept } else { Decision::Reject }
}

impl Handler for Recorder {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        decide(&login)
    }

    async fn on_connect(&self, session: &Session) {
        session.subscribe(topic(session.device().as_str()));
        let _ = self.0.send(Seen::Connected(By::of(session)));
    }

    async fn on_published(&self, _: &Session, published: Published) -> Outcome {
        Outcome::Send(published.message)
    }

    async fn on_message(&self, _: &Session, message: Term) -> Outcome {
        let _ = self.0.send(Seen::Message(message));
        Outcome::Ok
    }

    async fn on_request(&self, _: &Session, question: Term) -> RequestOutcome {
        match question.as_str() {
            Some("time?") => RequestOutcome::reply("noon"),
            Some("fail") => RequestOutcome::Failed("out of order".to_owned()),
            Some("hang") => std::future::pending().await,
            _ => RequestOutcome::Unhandled,
        }
    }

    async fn on_raw(&self, _: &Session, bytes: Vec<u8>) -> Outcome {
        let _ = self.0.send(Seen::Raw(bytes));
        Outcome::Ok
    }
}
