//! Which events a reader wants.

use fedecks_cloud::DeviceId;
use fedecks_store::DevicePattern;

use super::event::Event;
use crate::event_kind::EventKind;

/// Which events a reader wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Only events of devices that match all of these patterns. Empty: also events without a device.
    devices: Vec<DevicePattern>,
    /// Only events of these kinds. Empty: all kinds.
    kinds: Vec<EventKind>,
}

impl Filter {
    /// A kind counts once, however often it is named: a filter takes the same time whatever a client asks for.
    pub(crate) fn new(devices: Vec<DevicePattern>, kinds: &[EventKind]) -> Self {
        let kinds = EventKind::ALL.iter().copied().filter(|kind| kinds.contains(kind));
        Self { devices, kinds: kinds.collect() }
    }

    pub(crate) fn matches(&self, event: &Event) -> bool {
        self.wants(event.kind(), event.device.as_ref())
    }

    /// Whether it matches events of this kind and device.
    pub(super) fn wants(&self, kind: EventKind, device: Option<&DeviceId>) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && self
                .devices
                .iter()
                .all(|pattern| device.is_some_and(|device| pattern.matches(device)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_is_repeated_counts_once() {
        let filter = Filter::new(Vec::new(), &[EventKind::Refused; 1000]);
        assert_eq!(filter.kinds, [EventKind::Refused]);
    }
}
