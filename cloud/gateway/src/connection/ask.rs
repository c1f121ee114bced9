//! A request for a device, on its way to the session.

use fedecks_protocol::EncodedTerm;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::messaging::request::RequestError;

/// A request for the device of a session. Dropped before it is sent, it is answered as not connected.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) content: EncodedTerm,
    /// When the caller gives up.
    pub(crate) deadline: Instant,
    reply: Option<Reply>,
}

/// Where the answer goes.
pub(crate) type Reply = oneshot::Sender<Result<EncodedTerm, RequestError>>;

impl Ask {
    pub(crate) fn new(content: EncodedTerm, deadline: Instant, reply: Reply) -> Self {
        Self { content, deadline, reply: Some(reply) }
    }

    /// Nothing is sent.
    pub(crate) fn refuse(mut self, error: RequestError) {
        self.answer(error);
    }

    /// It is sent now: from then on, a reply that is dropped means that the outcome is unknown.
    pub(crate) fn take_reply(&mut self) -> Option<Reply> {
        self.reply.take()
    }

    fn answer(&mut self, error: RequestError) {
        if let Some(reply) = self.reply.take() {
            // The caller may have given up.
            let _ = reply.send(Err(error));
        }
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        self.answer(RequestError::NotConnected);
    }
}
