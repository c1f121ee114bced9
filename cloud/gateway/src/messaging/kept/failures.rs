//! Which kept messages made the handler fail, and how often: one that always does must not come again forever.

use std::collections::HashMap;

use fedecks_protocol::{DeviceId, StreamId};
use parking_lot::Mutex;

/// A message: its device, its stream, its number.
type Message = (DeviceId, StreamId, u64);

/// Counts by message, bounded.
#[derive(Default)]
pub(crate) struct Failures(Mutex<HashMap<Message, u32>>);

/// The number of messages that are remembered. Each is the only one of its stream.
const MAX: usize = 10_000;

/// How often the handler may fail for the same message.
pub(crate) const MAX_FAILURES: u32 = 3;

impl Failures {
    /// The handler has panicked, or did not return.
    pub(crate) fn add(&self, device: &DeviceId, stream: StreamId, sequence: u64) {
        let mut counts = self.0.lock();
        if counts.len() >= MAX {
            // They only get further tries.
            counts.clear();
        }
        *counts.entry((device.clone(), stream, sequence)).or_default() += 1;
    }

    /// Whether the message is not to be handled any more. Forgets it then.
    pub(crate) fn is_poison(&self, device: &DeviceId, stream: StreamId, sequence: u64) -> bool {
        let mut counts = self.0.lock();
        if counts.is_empty() {
            return false;
        }
        let message = (device.clone(), stream, sequence);
        let is_poison = counts.get(&message).is_some_and(|count| *count >= MAX_FAILURES);
        if is_poison {
            counts.remove(&message);
        }
        is_poison
    }

    /// The message was handled.
    pub(crate) fn forget(&self, device: &DeviceId, stream: StreamId, sequence: u64) {
        let mut counts = self.0.lock();
        if !counts.is_empty() {
            counts.remove(&(device.clone(), stream, sequence));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_poison_after_three_failures_in_a_row() {
        let failures = Failures::default();
        let (device, stream) = (DeviceId::new("a").unwrap(), StreamId([1; 16]));
        for _ in 0..2 {
            failures.add(&device, stream, 7);
            assert!(!failures.is_poison(&device, stream, 7));
        }
        failures.forget(&device, stream, 7);
        for _ in 0..3 {
            assert!(!failures.is_poison(&device, stream, 7));
            failures.add(&device, stream, 7);
        }
        assert!(!failures.is_poison(&device, stream, 8));
        assert!(failures.is_poison(&device, stream, 7));
        assert!(!failures.is_poison(&device, stream, 7), "forgotten");
    }

    #[test]
    fn the_number_of_remembered_messages_is_bounded() {
        let failures = Failures::default();
        let device = DeviceId::new("a").unwrap();
        for sequence in 0..2 * MAX as u64 {
            failures.add(&device, StreamId([1; 16]), sequence);
        }
        assert!(failures.0.lock().len() <= MAX);
    }
}
