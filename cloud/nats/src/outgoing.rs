//! What waits for NATS, bounded in bytes.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many bytes wait at most.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// What a message takes besides its payload, approximately.
const OVERHEAD: usize = 200;

/// A message for NATS.
pub(crate) struct Outbound {
    pub(crate) subject: String,
    pub(crate) reply: Option<String>,
    pub(crate) payload: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Outgoing {
    queue: Mutex<Queue>,
    /// There is something to do for the writer.
    pub(crate) wake: Notify,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Outbound>,
    bytes: usize,
}

impl Outgoing {
    /// Returns false if it does not fit.
    pub(crate) fn push(&self, message: Outbound) -> bool {
        let mut queue = self.queue.lock();
        let bytes = queue.bytes + message.size();
        if bytes > MAX_BYTES {
            return false;
        }
        queue.bytes = bytes;
        queue.messages.push_back(message);
        drop(queue);
        self.wake.notify_one();
        true
    }

    pub(crate) fn pop(&self) -> Option<Outbound> {
        let mut queue = self.queue.lock();
        let message = queue.messages.pop_front()?;
        queue.bytes -= message.size();
        Some(message)
    }

    /// Returns how many there were.
    pub(crate) fn clear(&self) -> usize {
        let queue = std::mem::take(&mut *self.queue.lock());
        queue.messages.len()
    }
}

impl Outbound {
    fn size(&self) -> usize {
        self.payload.len() + OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_in_order() {
        let outgoing = Outgoing::default();
        let message = |first| {
            let mut payload = vec![0; 1024 * 1024];
            payload[0] = first;
            Outbound { subject: "a".to_owned(), reply: None, payload }
        };
        let accepted = (0..100).filter(|first| outgoing.push(message(*first))).count();
        assert_eq!(accepted, 31);
        assert_eq!(outgoing.pop().unwrap().payload[0], 0);
        assert!(outgoing.push(message(100)) && !outgoing.push(message(101)));
        let rest = std::iter::from_fn(|| outgoing.pop()).map(|message| message.payload[0]);
        assert!(rest.eq((1..31).chain([100])));
        assert!(outgoing.push(message(0)));
        assert_eq!((outgoing.clear(), outgoing.clear()), (1, 0));
    }
}
