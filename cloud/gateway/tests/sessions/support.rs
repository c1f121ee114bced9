//! A cloud whose handler follows instructions in the messages of devices.

use std::time::Duration;

use fedecks_cloud::auth::AuthenticatedBy;
use fedecks_cloud::messaging::Presence;
use fedecks_cloud::messaging::RequestOutcome;
use fedecks_cloud::session::{Disconnected, SessionError};
use fedecks_cloud::{Decision, DeviceId, Handler, Login, Options, Outcome, Published, Session};
use fedecks_protocol::{CloseCode, CloseReason, Dialect, Limits, Proof, Term, UpFrame};
use fedecks_testing::cloud::CloudOptions;
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::until;
use fedecks_testing::{PASSWORD, USER};
use futures_util::SinkExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedSender;
use tokio_tungstenite::tungstenite::Message;

/// A call of the handler.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Called {
    Connected(String, AuthenticatedBy),
    In(String, Term),
    Error(String, String),
    Disconnected(String, Disconnected),
}

pub(crate) type Cloud = fedecks_testing::cloud::Cloud<Called>;

pub(crate) struct Obedient(pub(crate) UnboundedSender<Called>);

impl Handler for Obedient {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        let credentials = login.credentials;
        let seconds = Duration::from_secs;
        match credentials.text("username") {
            Some("blocked") => Decision::Blocked,
            Some("hasty") => Decision::RateLimited { retry_after: seconds(7) },
            Some("early") => Decision::Unavailable { retry_after: seconds(9) },
            Some("panic") => panic!("as requested"),
            Some(USER) if credentials.text("password") == Some(PASSWORD) => Decision::Accept,
            _ => Decision::Reject,
        }
    }

    async fn on_connect(&self, session: &Session) {
        session.subscribe(format!("downstream.{}", session.device()));
        session.subscribe("all");
        self.record(Called::Connected(session.device().to_string(), session.authenticated_by()));
    }

    async fn on_request(&self, _: &Session, question: Term) -> RequestOutcome {
        match question.as_str() {
            Some("time?") => RequestOutcome::reply("noon"),
            Some("fail") => RequestOutcome::Failed("out of order".to_owned()),
            Some("too much") => RequestOutcome::reply(&"x".repeat(2_000_000)),
            Some("wait") => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                RequestOutcome::reply("late")
            }
            Some("panic") => panic!("as requested"),
            _ => RequestOutcome::Unhandled,
        }
    }

    async fn on_message(&self, session: &Session, message: Term) -> Outcome {
        self.record(Called::In(session.device().to_string(), message.clone()));
        match message.as_str() {
            Some("stop") => Outcome::stop(),
            Some("panic") => panic!("as requested"),
            Some("hang") => std::future::pending().await,
            Some("quiet") => Outcome::Ok,
            Some("peer?") => Outcome::send(&session.peer().is_some()),
            Some("too much") => Outcome::send(&"x".repeat(2_000_000)),
            Some("leave") => {
                session.unsubscribe("all");
                Outcome::send("left")
            }
            _ => Outcome::Send(message.into()),
        }
    }

    // Not an async function, so that it can panic before there is a future.
    fn on_raw(&self, _: &Session, mut bytes: Vec<u8>) -> impl Future<Output = Outcome> + Send {
        assert_ne!(bytes, b"panic", "as requested");
        bytes.reverse();
        std::future::ready(Outcome::SendRaw(bytes))
    }

    async fn on_published(&self, _: &Session, published: Published) -> Outcome {
        match published.message.as_str() {
            Some("stop") => Outcome::stop(),
            Some("not for the device") => Outcome::Ok,
            Some("raw") => Outcome::SendRaw(b"raw".to_vec()),
            _ => Outcome::Send(published.message),
        }
    }

    fn on_error(&self, presence: &Presence, error: &SessionError) {
        self.record(Called::Error(presence.device.to_string(), error.to_string()));
    }

    fn on_disconnect(&self, presence: &Presence, reason: &Disconnected) {
        self.record(Called::Disconnected(presence.device.to_string(), *reason));
    }
}

impl Obedient {
    fn record(&self, called: Called) {
        let _ = self.0.send(called);
    }
}

pub(crate) async fn start() -> Cloud {
    with(Options::default()).await
}

pub(crate) async fn with(options: Options) -> Cloud {
    CloudOptions { options, ..CloudOptions::default() }.start(Obedient).await
}

pub(crate) trait CloudExt {
    /// Connects a device with a token that is not due for a refresh.
    async fn connect(&self, device: &str) -> RawDevice;

    /// Waits for a call and skips others.
    async fn until_called(&mut self, expected: &Called);

    /// Waits for the end of a device's session and asserts its error: none if `error` is empty, one that
    /// begins with `error` if that ends with a space.
    async fn assert_end(&mut self, device: &str, error: &str, reason: Disconnected);

    /// Waits until this number of devices is connected.
    async fn until_connected(&self, count: usize);
}

impl CloudExt for Cloud {
    async fn connect(&self, device: &str) -> RawDevice {
        RawDevice::connect(self.address, device).await
    }

    async fn until_called(&mut self, expected: &Called) {
        self.until(|called| (called == *expected).then_some(())).await;
    }

    async fn assert_end(&mut self, device: &str, error: &str, reason: Disconnected) {
        let mut reported = None;
        let ended = self
            .until(|called| match called {
                Called::Error(of, error) if of == device => {
                    reported = Some(error);
                    None
                }
                Called::Disconnected(of, reason) if of == device => Some(reason),
                _ => None,
            })
            .await;
        assert_eq!(ended, reason);
        let reported = reported.unwrap_or_default();
        assert!(
            reported == error || (error.ends_with(' ') && reported.starts_with(error)),
            "{reported}"
        );
    }

    async fn until_connected(&self, count: usize) {
        until(async || (self.hub.stats().connected == count).then_some(())).await;
    }
}

/// Sends a message and takes it back from the handler.
pub(crate) async fn assert_echo(
    device: &mut RawDevice<impl AsyncRead + AsyncWrite + Unpin>,
    message: impl Into<Term>,
) {
    let message = message.into();
    device.say(message.clone()).await;
    assert_eq!(device.receive().await, message);
}

/// Sends all messages before it reads any answer.
pub(crate) async fn flood(
    device: &mut RawDevice<impl AsyncRead + AsyncWrite + Unpin>,
    messages: impl Iterator<Item = Term>,
) {
    for term in messages {
        let frame = UpFrame::Message { sequence: None, term };
        let bytes = Dialect::Bincode.encode_up(&frame, &Limits::default()).unwrap();
        device.ws.feed(Message::binary(bytes)).await.unwrap();
    }
    device.ws.flush().await.unwrap();
}

/// Floods the cloud with this number of messages and takes them back.
pub(crate) async fn assert_echo_in_order(
    device: &mut RawDevice<impl AsyncRead + AsyncWrite + Unpin>,
    count: i64,
) {
    flood(device, (0..count).map(Term::from)).await;
    for number in 0..count {
        assert_eq!(device.receive().await, Term::from(number));
    }
}

pub(crate) fn by_cloud(code: CloseCode) -> Disconnected {
    Disconnected::ByCloud(CloseReason::new(code))
}

pub(crate) fn credentials(username: &str) -> Proof {
    Proof::Credentials(fedecks_testing::device::credentials(username, PASSWORD))
}

pub(crate) fn id(device: &str) -> DeviceId {
    device.parse().unwrap()
}
