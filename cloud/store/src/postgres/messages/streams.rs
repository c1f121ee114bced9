//! The streams of a device: which steps they take, and which of them are forgotten. Without the database.

use std::collections::{BTreeMap, BTreeSet};

use fedecks_protocol::{Lane, StreamId};

use crate::messages::{Step, StreamPosition};

/// The streams of a device.
#[derive(Default)]
pub(super) struct Streams {
    streams: BTreeMap<StreamId, Used>,
    moved: BTreeSet<StreamId>,
    forgotten: BTreeSet<StreamId>,
}

/// How far a stream is, and when it was used: higher than that of every stream that was used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) position: StreamPosition,
    pub(super) used: u64,
}

impl Streams {
    pub(super) fn new(streams: impl IntoIterator<Item = Used>) -> Self {
        let streams = streams.into_iter().map(|it| (it.position.stream, it)).collect();
        Self { streams, ..Self::default() }
    }

    /// Takes a step. Returns false if its stream is elsewhere.
    pub(super) fn take(&mut self, step: &Step) -> bool {
        let position = step.to;
        let known = self.streams.get(&position.stream).map(|it| it.position.up_to);
        if known.unwrap_or(0) != step.from {
            return false;
        }
        let used = self.streams.values().map(|it| it.used).max().unwrap_or(0) + 1;
        // A stream never changes its lane.
        let lane = self.streams.get(&position.stream).map_or(position.lane, |it| it.position.lane);
        let position = StreamPosition { lane, ..position };
        self.streams.insert(position.stream, Used { position, used });
        self.moved.insert(position.stream);
        if known.is_none() {
            self.forget_oldest(lane);
        }
        true
    }

    /// Forgets the stream of a lane that was not used for the longest time, if there are too many.
    fn forget_oldest(&mut self, lane: Lane) {
        let of_lane = || self.streams.values().filter(|it| it.position.lane == lane);
        if of_lane().count() <= StreamPosition::MAX_PER_LANE {
            return;
        }
        let oldest = of_lane().min_by_key(|it| it.used).map(|it| it.position.stream);
        if let Some(oldest) = oldest {
            self.streams.remove(&oldest);
            self.forgotten.insert(oldest);
        }
    }

    /// Those that have moved.
    pub(super) fn moved(&self) -> impl Iterator<Item = &Used> {
        self.moved.iter().filter_map(|stream| self.streams.get(stream))
    }

    /// Those that are forgotten.
    pub(super) fn forgotten(&self) -> impl Iterator<Item = &StreamId> {
        self.forgotten.iter().filter(|stream| !self.streams.contains_key(*stream))
    }
}
