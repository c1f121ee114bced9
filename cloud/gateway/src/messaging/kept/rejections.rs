//! Which numbers of a stream were rejected for good, until the device knows: an acknowledgement can be lost.

use std::collections::HashMap;

use fedecks_protocol::{DeviceId, StreamId};
use parking_lot::Mutex;

/// By stream, bounded. What does not fit, and what was remembered before a restart, counts as delivered for the device.
#[derive(Default)]
pub(crate) struct Rejections(Mutex<HashMap<(DeviceId, StreamId), Vec<u64>>>);

/// The number of streams that are remembered.
const MAX_STREAMS: usize = 10_000;

/// The number of rejected numbers of a stream that are remembered, the newest.
const MAX_REJECTED: usize = 100;

impl Rejections {
    /// The rejection is stored.
    pub(crate) fn add(&self, device: &DeviceId, stream: StreamId, sequence: u64) {
        let mut streams = self.0.lock();
        let key = (device.clone(), stream);
        if streams.len() >= MAX_STREAMS && !streams.contains_key(&key) {
            return;
        }
        let rejected = streams.entry(key).or_default();
        if rejected.len() >= MAX_REJECTED {
            rejected.remove(0);
        }
        rejected.push(sequence);
    }

    /// The rejected numbers of a stream from `oldest` on, which is the oldest that the device has. Forgets the others.
    pub(crate) fn from(&self, device: &DeviceId, stream: StreamId, oldest: u64) -> Vec<u64> {
        let mut streams = self.0.lock();
        if streams.is_empty() {
            return Vec::new();
        }
        let key = (device.clone(), stream);
        let Some(rejected) = streams.get_mut(&key) else { return Vec::new() };
        rejected.retain(|sequence| *sequence >= oldest);
        let left = rejected.clone();
        if left.is_empty() {
            streams.remove(&key);
        }
        left
    }

    /// The stream is finished.
    pub(crate) fn forget(&self, device: &DeviceId, stream: StreamId) {
        let mut streams = self.0.lock();
        if !streams.is_empty() {
            streams.remove(&(device.clone(), stream));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId([1; 16]);

    #[test]
    fn numbers_are_remembered_until_the_device_no_longer_has_them() {
        let rejections = Rejections::default();
        let device = DeviceId::new("a").unwrap();
        [3, 5, 9].iter().for_each(|sequence| rejections.add(&device, STREAM, *sequence));
        assert_eq!(rejections.from(&device, STREAM, 1), [3, 5, 9]);
        assert_eq!(rejections.from(&device, STREAM, 5), [5, 9]);
        assert!(rejections.from(&device, StreamId([2; 16]), 1).is_empty());
        assert!(rejections.from(&device, STREAM, 10).is_empty());
        assert!(rejections.0.lock().is_empty());
        rejections.add(&device, STREAM, 11);
        rejections.forget(&device, STREAM);
        assert!(rejections.from(&device, STREAM, 1).is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let rejections = Rejections::default();
        let id = |number: usize| DeviceId::new(format!("d{number}")).unwrap();
        (0..MAX_STREAMS + 10).for_each(|number| rejections.add(&id(number), STREAM, 1));
        assert_eq!(rejections.0.lock().len(), MAX_STREAMS);
        (2..=200).for_each(|sequence| rejections.add(&id(0), STREAM, sequence));
        assert_eq!(rejections.from(&id(0), STREAM, 1), (101..=200).collect::<Vec<_>>());
    }
}
