//! How a program keeps a message for a device, and wakes its session.

use bytes::Bytes;
use fedecks_protocol::{
    Content, DeliveryFrame, DeviceId, Dialect, DownFrame, EncodeError, Kept, Limits, Tag,
};
use fedecks_store::{DownState, DropReason, NewDown, Queued};
use serde::Serialize;

use super::{KeepDown, SendKeptError, SettledMessage};
use crate::messaging::backplane::Payload;
use crate::messaging::hub::Hub;
use crate::messaging::message::Message;

impl Hub {
    /// Sends any serializable value to a device, and keeps it until the device has acknowledged it, over any number
    /// of connections and restarts. `Ok` means that it is stored; the id is that of [`Handler::on_settled`].
    ///
    /// At most 1,000 messages or 1 MiB wait for a device, and 512 MiB for all. A device that is away gets what waits
    /// when it is back. One that does not take kept messages, such as one with an older client, does not get it
    /// before it has another client: the message expires.
    ///
    /// ```no_run
    /// # async fn example(hub: fedecks_cloud::Hub) -> Result<(), Box<dyn std::error::Error>> {
    /// use fedecks_cloud::DeviceId;
    /// use fedecks_cloud::messaging::KeepDown;
    ///
    /// let id = hub.send_kept(&DeviceId::new("kitchen-1")?, &("fan", true), KeepDown::default()).await?;
    /// println!("queued {id}");
    /// # Ok(()) }
    /// ```
    ///
    /// [`Handler::on_settled`]: crate::Handler::on_settled
    pub async fn send_kept<T: Serialize + ?Sized>(
        &self,
        device: &DeviceId,
        value: &T,
        keep: KeepDown,
    ) -> Result<Tag, SendKeptError> {
        self.send_kept_message(device, &Message::new(value)?, keep).await
    }

    /// Keeps a message that you use more than once, for example for several devices. Otherwise like
    /// [`Hub::send_kept`].
    pub async fn send_kept_message(
        &self,
        device: &DeviceId,
        message: &Message,
        keep: KeepDown,
    ) -> Result<Tag, SendKeptError> {
        self.keep(device, &Payload::Message(message.clone()), keep).await
    }

    /// Keeps raw bytes for a device. Otherwise like [`Hub::send_kept`].
    pub async fn send_kept_raw(
        &self,
        device: &DeviceId,
        bytes: impl Into<Bytes>,
        keep: KeepDown,
    ) -> Result<Tag, SendKeptError> {
        self.keep(device, &Payload::Raw(bytes.into()), keep).await
    }

    /// Has the session of a device, on whichever node, look for messages that were queued in the store. To be called
    /// after each [`queue_message`](crate::store::DeviceQueueStore::queue_message) of your own. A device that is away
    /// looks by itself when it connects, and so does one whose node the backplane cannot reach.
    pub fn wake(&self, device: &DeviceId) {
        match self.local(device) {
            Some(connection) => connection.mailbox.wake_for_kept(),
            None => self.backplane().wake(device),
        }
    }

    /// Tells the handler's [`on_settled`](crate::Handler::on_settled) of messages that your program has settled in the
    /// store: those that were replaced, cancelled, or expired there.
    pub fn settled(&self, device: &DeviceId, settled: &[SettledMessage]) {
        let Some(queue) = self.device_queue() else { return };
        if !queue.settled(device, settled) {
            tracing::error!(%device, "the handler panicked while it handled settled messages");
        }
    }

    /// Waits until [`on_settled`](crate::Handler::on_settled) was called for what sessions have settled in the store so far.
    /// For a program that ends, when its sessions have ended.
    pub async fn flush_settled(&self) {
        if let Some(queue) = self.device_queue() {
            queue.idle().await;
        }
    }

    /// The [body](crate::store::NewDown::body) of a message that your program queues in the store by itself, if it fits
    /// into a frame to a device.
    pub fn encode_kept(&self, payload: &Payload) -> Result<Bytes, EncodeError> {
        let limits = self.limits();
        let (content, body) = match payload {
            Payload::Message(message) => {
                // There is only this dialect.
                let term = Dialect::Bincode.keep_term(message, &limits)?;
                let body = Bytes::copy_from_slice(term.as_bytes());
                (Content::Term(term), body)
            }
            Payload::Raw(bytes) => (Content::Raw(bytes.to_vec()), bytes.clone()),
        };
        // With the longest fields that it can have.
        let kept = Kept {
            handle: u64::MAX,
            sequence: Limits::MAX_NUMBER,
            tag: Tag(u64::MAX),
            sent_at_ms: Some(u64::MAX),
            redelivered: true,
            content,
        };
        let frame = DownFrame::Delivery(DeliveryFrame::Kept(kept));
        Dialect::Bincode.encode_down(&frame, &limits)?;
        Ok(body)
    }

    async fn keep(
        &self,
        device: &DeviceId,
        payload: &Payload,
        keep: KeepDown,
    ) -> Result<Tag, SendKeptError> {
        keep.check()?;
        let queue = self.device_queue().ok_or(SendKeptError::NotOffered)?;
        if queue.clock.below_floor() {
            return Err(SendKeptError::ClockBehind);
        }
        let raw = matches!(payload, Payload::Raw(_));
        let body = self.encode_kept(payload)?;
        let at = queue.clock.now();
        let KeepDown { lane, expires_in, collapse_key } = keep;
        let expires_at = at.saturating_add(expires_in.as_secs());
        // 0 is not an id.
        let id = Tag(rand::random::<u64>().max(1));
        let message = NewDown { id, lane, raw, body, at, expires_at, collapse_key };
        match queue.store.queue_message(device, message, None, queue.limits).await? {
            Queued::Accepted { replaced } => {
                self.wake(device);
                let dropped = DownState::Dropped(DropReason::Replaced);
                let replaced: Vec<_> =
                    replaced.into_iter().map(|id| SettledMessage::new(id, dropped)).collect();
                self.settled(device, &replaced);
                Ok(id)
            }
            Queued::Repeated(id) => Ok(id),
            Queued::StoreFull => Err(SendKeptError::StoreFull),
            // The request has no idempotency key.
            Queued::QueueFull | Queued::KeyConflict => Err(SendKeptError::QueueFull),
        }
    }
}
