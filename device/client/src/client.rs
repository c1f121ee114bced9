//! The handle that an application holds: it tells the connection's loop what is wanted, and answers what
//! is asked.

use std::sync::Arc;

use fedecks_device_core::{GiveUp, LoggedIn, LoginError, Network};
use fedecks_protocol::{Credentials, DeviceId, Term, UpFrame};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use crate::driver::{Command, Outbound};
use crate::error::{ClientSendError, LogoutError, ReconnectError, Stopped};
use crate::health::{ConnectionHealth, Vitals};
use crate::status::Status;
use crate::subscription::{Subscription, Subscriptions};
use crate::url::CloudUrl;

/// The device's connection to its cloud. Cloning it gives another handle to the same connection,
/// which ends when the last handle is gone or by [`Client::shutdown`].
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) messages: mpsc::Sender<Outbound>,
    pub(crate) events: Subscriptions,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) vitals: Arc<Vitals>,
}

impl Client {
    /// Logs in. While the cloud cannot be reached the login goes on waiting, also when the future
    /// is dropped; it ends when the cloud answers, at a newer login, a logout or the shutdown.
    ///
    /// The credentials are kept in memory until then and nowhere else. A token that is there
    /// already is given up only for the one that this login brings.
    pub async fn login(&self, credentials: Credentials) -> Result<LoggedIn, LoginError> {
        let (answer, answered) = oneshot::channel();
        let stopped = LoginError::GivenUp(GiveUp::Shutdown);
        if self.commands.send(Command::Login { credentials, answer }).await.is_err() {
            return Err(stopped);
        }
        answered.await.unwrap_or(Err(stopped))
    }

    /// Ends the connection and forgets the token. Returns when nothing of it is on disk any more, or
    /// cannot be removed; that is tried again.
    pub async fn logout(&self) -> Result<(), LogoutError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Logout { answer }).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)?.map_err(LogoutError::StillStored)
    }

    /// Ends the connection or the wait that there is, even one that the cloud asked for, and dials at
    /// once. Returns when the attempt has begun.
    pub async fn reconnect(&self) -> Result<(), ReconnectError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Reconnect { answer }).await.map_err(|_| Stopped)?;
        Ok(answered.await.map_err(|_| Stopped)??)
    }

    /// Sends any serializable value. Returns when the message was handed to the connection, which
    /// says nothing yet about its arrival; waits while an earlier one has not left. Dropping the future
    /// does not take back a message that waits.
    pub async fn send<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), ClientSendError> {
        let term = Term::from_serialize(value)?;
        self.send_frame(UpFrame::Message { sequence: None, term }).await
    }

    /// Sends bytes as they are, otherwise as [`Client::send`].
    pub async fn send_raw(&self, bytes: &[u8]) -> Result<(), ClientSendError> {
        self.send_frame(UpFrame::Raw { sequence: None, bytes: bytes.to_vec() }).await
    }

    /// Tells what is known of the network: the connection dials at once when it is back, and makes
    /// sure that a connection is alive when it changed.
    pub async fn network(&self, network: Network) -> Result<(), Stopped> {
        self.commands.send(Command::Network(network)).await.map_err(|_| Stopped)
    }

    /// Closes the connection and waits until it is closed and the token is on disk, at most five
    /// seconds. The token stays.
    pub async fn shutdown(&self) {
        // A loop that has ended already is just what is asked for.
        let _ = self.commands.send(Command::Shutdown).await;
        // The loop has the other end until it has ended.
        let mut status = self.status.clone();
        while status.changed().await.is_ok() {}
    }

    /// The events from now on: connection changes and messages from the cloud.
    pub fn subscribe(&self) -> Subscription {
        self.events.subscribe()
    }

    /// What the connection is doing.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Everything that is known of the connection's health.
    pub fn health(&self) -> ConnectionHealth {
        self.vitals.examine(&self.status.borrow())
    }

    /// Who the device is.
    pub fn device_id(&self) -> &DeviceId {
        &self.vitals.device_id
    }

    /// Where its cloud is.
    pub fn url(&self) -> &CloudUrl {
        &self.vitals.url
    }

    /// A receiver that sees each change of the status.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until the connection has ended, by [`Client::shutdown`] or by itself.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }

    async fn send_frame(&self, frame: UpFrame) -> Result<(), ClientSendError> {
        let (answer, answered) = oneshot::channel();
        self.messages.send(Outbound { frame, answer }).await.map_err(|_| Stopped)?;
        Ok(answered.await.map_err(|_| Stopped)??)
    }
}
