//! The application's handle: it sends commands to the event loop, and answers queries from the status.

use std::sync::Arc;
use std::time::Duration;

use fedecks_device_core::{GiveUp, LoggedIn, LoginError, Network, NewContent, NewKept};
use fedecks_protocol::{Credentials, DeviceId, Lane, Term, TermError, UpFrame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot, watch};

use crate::command::{Command, Outbound};
use crate::deliveries::{Deliveries, LaneInUse, Lanes};
use crate::error::{ClientSendError, LogoutError, ReconnectError, Stopped};
use crate::events::{Events, Subscriptions};
use crate::health::{ConnectionHealth, Vitals};
use crate::kept::{Keep, Kept, SendKeptError};
use crate::requests::{AlreadyAnswering, Asker, ClientRequestError, Requests};
use crate::status::Status;
use crate::unsent::Unsent;
use crate::url::CloudUrl;

/// The device's connection to its cloud. Clones are handles to the same connection, which ends when the
/// last handle is dropped or by [`Client::shutdown`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use fedecks_device::{Client, DeviceId};
///
/// let builder = Client::builder("wss://cloud.example".parse()?, DeviceId::new("kitchen-1")?);
/// let (client, _events) = builder.data_dir("/data/fedecks").start().await?;
/// if !client.status().needs_login() {
///     client.send(&("temperature", 21.5)).await?;
/// }
/// client.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) messages: mpsc::Sender<Outbound>,
    pub(crate) unsent: Unsent,
    pub(crate) asker: Asker,
    pub(crate) lanes: Lanes,
    pub(crate) events: Subscriptions,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) vitals: Arc<Vitals>,
}

impl Client {
    /// Logs in. While the cloud cannot be reached, the login stays pending, even if the future is
    /// dropped; it ends when the cloud answers, or at a newer login, a logout or the shutdown.
    ///
    /// Until then the credentials are kept in memory, and nowhere else. An existing token is replaced
    /// only by the one that this login obtains.
    ///
    /// Credentials without the key `nonce` get one: a random text that is the same for all logins until a logout, also
    /// after a restart, so that the cloud counts a login whose answer was lost only once. It is in the data directory.
    pub async fn login(&self, credentials: Credentials) -> Result<LoggedIn, LoginError> {
        let stopped = LoginError::GivenUp(GiveUp::Shutdown);
        self.command(|reply| Command::Login { credentials, reply }).await.unwrap_or(Err(stopped))
    }

    /// Closes the connection and deletes the token. Returns when it is removed from the disk, or when
    /// that has failed; the removal is retried.
    pub async fn logout(&self) -> Result<(), LogoutError> {
        let removed = self.command(|reply| Command::Logout { reply }).await?;
        removed.map_err(LogoutError::StillStored)
    }

    /// Closes the connection or ends the current wait, even one that the cloud asked for, and dials
    /// immediately. Returns when the attempt has begun.
    pub async fn reconnect(&self) -> Result<(), ReconnectError> {
        Ok(self.command(|reply| Command::Reconnect { reply }).await??)
    }

    /// Sends any serializable value, now or not at all. `Ok` means that it was written to the connection's socket:
    /// if the connection is dead without anyone knowing yet, it is lost. [`Client::send_confirmed`] finds out, and
    /// [`Client::send_kept`] sends it again. Waits until earlier messages have been sent. Dropping the future does
    /// not withdraw the message. A value that clouds do not decode, because it would take more than
    /// 16 MiB of their memory, is an error.
    pub async fn send<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), ClientSendError> {
        self.send_term(Term::from_serialize(value)?).await
    }

    /// Sends a term without a copy of it; otherwise like [`Client::send`].
    pub async fn send_term(&self, term: Term) -> Result<(), ClientSendError> {
        self.send_frame(UpFrame::Message { sequence: None, term }, false).await
    }

    /// Sends raw bytes; otherwise like [`Client::send`].
    pub async fn send_raw(&self, bytes: &[u8]) -> Result<(), ClientSendError> {
        self.send_frame(UpFrame::Raw { sequence: None, bytes: bytes.to_vec() }, false).await
    }

    /// Sends any serializable value, and waits until the cloud has confirmed that it has read it.
    /// [`SendError::Unconfirmed`](crate::error::SendError) means that it was sent and may have arrived; every other
    /// error, that it was not sent. A cloud that confirms nothing, as it is not of this kind, counts as one that has.
    pub async fn send_confirmed<T: Serialize + ?Sized>(
        &self,
        value: &T,
    ) -> Result<(), ClientSendError> {
        self.send_term_confirmed(Term::from_serialize(value)?).await
    }

    /// Sends a term without a copy of it; otherwise like [`Client::send_confirmed`].
    pub async fn send_term_confirmed(&self, term: Term) -> Result<(), ClientSendError> {
        self.send_frame(UpFrame::Message { sequence: None, term }, true).await
    }

    /// Sends raw bytes; otherwise like [`Client::send_confirmed`].
    pub async fn send_raw_confirmed(&self, bytes: &[u8]) -> Result<(), ClientSendError> {
        self.send_frame(UpFrame::Raw { sequence: None, bytes: bytes.to_vec() }, true).await
    }

    /// Keeps any serializable value until the cloud has acknowledged it, with a connection or without. `Ok` means
    /// that it is in the queue, from which it is sent in order, again after each loss of the connection, until the
    /// cloud has stored its effect. It arrives once, or [`Kept::settled`] tells why not.
    ///
    /// The queue has 1 MiB of memory for all messages unless
    /// [`keep_bytes`](crate::ClientBuilder::keep_bytes) changes it. When it is full, the oldest messages of the normal
    /// lane are dropped, and if that is not enough, the new one is refused.
    pub async fn send_kept<T: Serialize + ?Sized>(
        &self,
        value: &T,
        keep: Keep,
    ) -> Result<Kept, SendKeptError> {
        self.send_term_kept(Term::from_serialize(value)?, keep).await
    }

    /// Keeps a term without a copy of it; otherwise like [`Client::send_kept`].
    pub async fn send_term_kept(&self, term: Term, keep: Keep) -> Result<Kept, SendKeptError> {
        self.keep(NewContent::Term(term), keep).await
    }

    /// Keeps raw bytes; otherwise like [`Client::send_kept`].
    pub async fn send_raw_kept(&self, bytes: &[u8], keep: Keep) -> Result<Kept, SendKeptError> {
        self.keep(NewContent::Raw(bytes.to_vec()), keep).await
    }

    /// Asks the cloud, and returns its answer. Nothing is sent again: what the errors say about the outcome is in
    /// [`RequestError`](crate::requests::RequestError). The timeout is from 1 ms to
    /// [`MAX_TIMEOUT`](crate::requests::MAX_TIMEOUT). At most 16 requests are in progress; dropping the future cancels one.
    ///
    /// ```no_run
    /// # async fn example(client: &fedecks_device::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use fedecks_device::requests::DEFAULT_TIMEOUT;
    ///
    /// let limit: u32 = client.request("limit", DEFAULT_TIMEOUT).await?;
    /// # Ok(()) }
    /// ```
    pub async fn request<T: DeserializeOwned>(
        &self,
        question: &(impl Serialize + ?Sized),
        timeout: Duration,
    ) -> Result<T, ClientRequestError> {
        let answer = self.request_term(Term::from_serialize(question)?, timeout).await?;
        Ok(answer.parse()?)
    }

    /// Asks with a term, without a copy of it, and returns one; otherwise like [`Client::request`].
    pub async fn request_term(
        &self,
        question: Term,
        timeout: Duration,
    ) -> Result<Term, ClientRequestError> {
        let answer = self.asker.ask(question, timeout, &self.unsent).await?;
        // It was checked when it was received.
        answer.decode().map_err(|error| <TermError as serde::de::Error>::custom(error).into())
    }

    /// The requests of the cloud from now on, for the one who answers them. Only one can at a time; while no one does,
    /// they are answered at once as unhandled.
    ///
    /// ```no_run
    /// # async fn example(client: &fedecks_device::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut requests = client.requests()?;
    /// while let Some(request) = requests.next().await {
    ///     match request.parse::<String>()?.as_str() {
    ///         "led" => request.reply("on").await?,
    ///         other => request.fail(&format!("cannot {other}")).await?,
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn requests(&self) -> Result<Requests, AlreadyAnswering> {
        self.asker.consume()
    }

    /// The kept messages of a lane, for the only one who acknowledges them. What it has not acknowledged when it is
    /// dropped waits for the next one.
    ///
    /// A lane that has not had such a consumer yet passes its messages to the [`Events`] like any other, which
    /// acknowledges them; see [`ClientBuilder::wait_for_consumer`](crate::ClientBuilder::wait_for_consumer).
    ///
    /// ```no_run
    /// # async fn example(client: &fedecks_device::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use fedecks_device::deliveries::Lane;
    ///
    /// let mut deliveries = client.deliveries(Lane::Normal)?;
    /// while let Some(delivery) = deliveries.next().await {
    ///     match delivery.parse::<String>() {
    ///         Ok(text) => {
    ///             println!("{text}");
    ///             delivery.ack();
    ///         }
    ///         Err(_) => delivery.reject(),
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn deliveries(&self, lane: Lane) -> Result<Deliveries, LaneInUse> {
        self.lanes.consume(lane)
    }

    /// Reports the state of the network: the client dials immediately when the network is back, and
    /// checks that the connection is alive when the network changed.
    pub async fn network(&self, network: Network) -> Result<(), Stopped> {
        self.commands.send(Command::Network(network)).await.map_err(|_| Stopped)
    }

    /// Closes the connection and waits until it is closed and the token is on disk, at most five
    /// seconds. Keeps the token.
    pub async fn shutdown(&self) {
        // Fails if the loop has already ended, which is fine.
        let _ = self.commands.send(Command::Shutdown).await;
        // The loop holds the sender until it ends.
        let mut status = self.status.clone();
        while status.changed().await.is_ok() {}
    }

    /// Events from now on, in addition to those that [`ClientBuilder::start`](crate::ClientBuilder::start) returned.
    pub fn subscribe(&self) -> Events {
        let events = self.events.subscribe();
        self.lanes.on_reader();
        events
    }

    /// The connection's status.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Everything that is known about the connection's health.
    pub fn health(&self) -> ConnectionHealth {
        self.vitals.health(&self.status.borrow())
    }

    /// The device's id.
    pub fn device_id(&self) -> &DeviceId {
        &self.vitals.device_id
    }

    /// The cloud's URL.
    pub fn url(&self) -> &CloudUrl {
        &self.vitals.url
    }

    /// A receiver that is notified of each change of the status.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until the client has stopped, by [`Client::shutdown`] or on its own.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }

    /// Sends a command and waits for its reply.
    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Stopped> {
        let (reply, response) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Stopped)?;
        response.await.map_err(|_| Stopped)
    }

    async fn send_frame(&self, frame: UpFrame, confirm: bool) -> Result<(), ClientSendError> {
        let (reply, response) = oneshot::channel();
        let share = self.unsent.take(frame_weight(&frame)).await;
        let outbound = Outbound { frame, confirm, reply, share };
        self.messages.send(outbound).await.map_err(|_| Stopped)?;
        Ok(response.await.map_err(|_| Stopped)??)
    }

    async fn keep(&self, content: NewContent, keep: Keep) -> Result<Kept, SendKeptError> {
        let weight = match &content {
            NewContent::Term(term) => term.weight(),
            NewContent::Raw(bytes) => bytes.len(),
        };
        let share = self.unsent.take(weight).await;
        let Keep { lane, expires_in, place } = keep;
        // The loop knows whether the clock is plausible.
        let kept = NewKept { lane, content, sent_at_ms: None, expires_in, place };
        Ok(self.command(|reply| Command::Keep { kept, reply, _share: share }).await??)
    }
}

fn frame_weight(frame: &UpFrame) -> usize {
    match frame {
        UpFrame::Message { term, .. } => term.weight(),
        UpFrame::Raw { bytes, .. } => bytes.len(),
        UpFrame::TokenPlease
        | UpFrame::Hello(_)
        | UpFrame::KeepAlive(_)
        | UpFrame::Delivery(_)
        | UpFrame::Request(_)
        | UpFrame::Unknown { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use fedecks_protocol::{Dialect, DownFrame, IssuedToken, Limits, Token, Welcome};
    use futures_util::SinkExt;
    use futures_util::future::poll_immediate;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::testing::{accept, within};

    /// A message that can be sent at all on this machine is sent within this time.
    const A_WHILE: Duration = Duration::from_millis(300);

    /// Accepts a device with any credentials, welcomes it and issues a token.
    async fn welcome(listener: &TcpListener) -> WebSocketStream<TcpStream> {
        let (mut socket, _) = accept(listener.accept().await.unwrap().0).await;
        let welcome = DownFrame::Welcome(Welcome {
            server_time_ms: 0,
            // No ping fails within this test.
            heartbeat: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(600),
            max_frame: 1024 * 1024,
            delivery: None,
        });
        let token = Token::new("v4.local.abc").unwrap();
        let token = DownFrame::Token(IssuedToken { token, expires_at: 1_798_761_599 });
        for frame in [welcome, token] {
            let bytes = Dialect::Bincode.encode_down(&frame, &Limits::default()).unwrap();
            socket.send(Message::binary(bytes)).await.unwrap();
        }
        socket
    }

    #[tokio::test]
    async fn a_stalled_message_delays_neither_login_nor_shutdown() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let device_id = DeviceId::new("kitchen-1").unwrap();
        let builder = Client::builder(url, device_id).data_dir(directory.path());
        let (client, _) = builder.start().await.unwrap();
        let credentials = || Credentials::new().with("username", "marvin");
        let mut first_login = Box::pin(client.login(credentials()));
        assert!(poll_immediate(&mut first_login).await.is_none());
        let _unread = within(welcome(&listener)).await;
        within(first_login).await.unwrap();

        // Until all buffers are full and the next message has to wait.
        let big = vec![0; 1_000_000];
        while timeout(A_WHILE, client.send_raw(&big)).await.is_ok() {}
        let mut waiting = Box::pin(client.send_raw(&big));
        assert!(poll_immediate(&mut waiting).await.is_none());
        let mut second_login = Box::pin(client.login(credentials()));
        assert!(poll_immediate(&mut second_login).await.is_none());
        let _welcomed = within(welcome(&listener)).await;

        within(second_login).await.unwrap();
        // It was sent before the new connection was established, or after.
        let _ = within(waiting).await;
        within(client.shutdown()).await;
    }

    #[tokio::test]
    async fn two_clients_cannot_share_a_data_directory() {
        let url: CloudUrl = "ws://127.0.0.1:9".parse().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let start = async || {
            let device_id = DeviceId::new("kitchen-1").unwrap();
            let builder = Client::builder(url.clone(), device_id).data_dir(directory.path());
            builder.start().await.map(|(client, _)| client)
        };
        let first = start().await.unwrap();
        let error = start().await.err().unwrap().to_string();
        let expected = format!("the data directory {} is in use", directory.path().display());
        assert!(error.starts_with(&expected), "{error}");
        for _ in 0..20 {
            // Another client may start as soon as the shutdown returns.
            within(first.shutdown()).await;
            let next = start().await.unwrap();
            within(next.shutdown()).await;
        }
    }
}
