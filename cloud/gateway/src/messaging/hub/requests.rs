//! Asks a device, on whichever node it is connected.

use std::time::Duration;

use fedecks_delivery::clamp_timeout;
use fedecks_protocol::{DeviceId, Limits, Term, TermError};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::{Hub, HubOptions, Inner};
use crate::connection::ask::Ask;
use crate::connection::mailbox::{Item, SendError};
use crate::messaging::request::RequestError;

/// What a request has besides its content, in bytes, at most.
const HEAD: usize = 20;

impl Hub {
    /// Asks a device, on whichever node it is connected, and returns its answer. Nothing is stored or sent again: what the errors say about the outcome is
    /// in [`RequestError`]. The timeout is from 1 ms to 10 minutes. At most 16 requests to a device are in progress;
    /// dropping the future cancels one.
    ///
    /// Not to be awaited in a callback of the device's own session, which
    /// would have to end before the answer can be read.
    ///
    /// ```no_run
    /// # async fn example(hub: fedecks_cloud::Hub) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let device = fedecks_cloud::DeviceId::new("kitchen-1")?;
    /// let answer = hub.request(&device, "uptime", Duration::from_secs(30)).await?;
    /// println!("{} s", answer.parse::<u64>()?);
    /// # Ok(()) }
    /// ```
    pub async fn request<T: Serialize + ?Sized>(
        &self,
        device: &DeviceId,
        question: &T,
        timeout: Duration,
    ) -> Result<Term, RequestError> {
        self.request_term(device, &Term::from_serialize(question)?, timeout).await
    }

    /// Asks with a term. Otherwise like [`Hub::request`].
    pub async fn request_term(
        &self,
        device: &DeviceId,
        question: &Term,
        timeout: Duration,
    ) -> Result<Term, RequestError> {
        match self.0.ask_here(device, question, timeout).await {
            Err(RequestError::NotConnected) => {
                self.0.backplane.ask(device, question, timeout).await
            }
            here => here,
        }
    }
}

impl Inner {
    /// Asks a device that is connected to this node.
    pub(super) async fn ask_here(
        &self,
        device: &DeviceId,
        question: &Term,
        timeout: Duration,
    ) -> Result<Term, RequestError> {
        let connection = self.registry.get(device).ok_or(RequestError::NotConnected)?;
        let HubOptions { limits, queue, outgoing, .. } = &self.options;
        let max_size = limits.max_size.saturating_sub(HEAD);
        let limits = Limits { max_size, ..*limits };
        let content = connection.dialect.keep_term(question, &limits)?;
        let deadline = Instant::now() + clamp_timeout(timeout);
        let (reply, answer) = oneshot::channel();
        let ask = Item::Ask(Box::new(Ask::new(content, deadline, reply)));
        connection.mailbox.send(ask, queue, outgoing, None).map_err(|error| match error {
            SendError::Closed => RequestError::NotConnected,
            SendError::Full | SendError::NoMemory => RequestError::Busy,
        })?;
        let answer = match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer?,
            Ok(Err(_)) => return Err(RequestError::OutcomeUnknown),
            Err(_) => return Err(RequestError::TimedOut),
        };
        // It was checked when it was received.
        answer.decode().map_err(|error| <TermError as serde::de::Error>::custom(error).into())
    }
}
