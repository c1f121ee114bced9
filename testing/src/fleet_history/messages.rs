//! The rules for what webhooks and event streams get of the messages that were acknowledged.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::entry::{Device, FleetEntry, FleetRecord, Node};
use super::finding::FleetFinding;
use crate::history::{Lane, Message};

/// Numbers of a lane's messages.
type Numbers = BTreeSet<u64>;

#[expect(clippy::wildcard_enum_match_arm, reason = "each rule is about some kinds of entries")]
fn acknowledged(records: &[FleetRecord]) -> BTreeSet<(Device, Message)> {
    let acknowledged = records.iter().filter_map(|record| match &record.entry {
        FleetEntry::Acknowledged { device, message, .. } => Some((*device, *message)),
        _ => None,
    });
    acknowledged.collect()
}

/// Each message at least once, for the first time in the order of its lane, and always under the same id.
pub(super) fn webhooks(records: &[FleetRecord], findings: &mut Vec<FleetFinding>) {
    let mut delivered: HashMap<(Device, Message), &str> = HashMap::new();
    let mut last: HashMap<(Device, Lane), Message> = HashMap::new();
    for record in records {
        let FleetEntry::Delivered { device, message, id } = &record.entry else { continue };
        if let Some(known) = delivered.get(&(*device, *message)) {
            if known != id {
                findings.push(FleetFinding::DeliveredByTwoIds(*device, *message));
            }
            continue;
        }
        delivered.insert((*device, *message), id);
        let last = last.entry((*device, message.lane)).or_insert(*message);
        if last.number > message.number {
            findings.push(FleetFinding::DeliveredLate(*device, *message, *last));
        } else {
            *last = *message;
        }
    }
    for (device, message) in acknowledged(records) {
        if !delivered.contains_key(&(device, message)) {
            findings.push(FleetFinding::NotDelivered(device, message));
        }
    }
}

/// What one event stream has shown of one lane: numbers and places, and the places of its gaps.
#[derive(Default)]
struct Shown {
    numbers: Numbers,
    places: BTreeMap<u64, usize>,
}

/// Each message, or a gap after the latest earlier one. A server that is cut off continues to show its own
/// events, and notices only when it learns of the others again that theirs are missing.
#[expect(clippy::wildcard_enum_match_arm, reason = "each rule is about some kinds of entries")]
pub(super) fn streams(records: &[FleetRecord], findings: &mut Vec<FleetFinding>) {
    let mut gaps: BTreeMap<Node, Vec<usize>> = BTreeMap::new();
    let mut shown: HashMap<(Node, Device, Lane), Shown> = HashMap::new();
    for (place, record) in records.iter().enumerate() {
        match &record.entry {
            FleetEntry::Gap(node) => gaps.entry(*node).or_default().push(place),
            FleetEntry::Shown { node, device, message } => {
                let lane = shown.entry((*node, *device, message.lane)).or_default();
                lane.numbers.insert(message.number);
                lane.places.entry(message.number).or_insert(place);
            }
            _ => {}
        }
    }
    let acknowledged = acknowledged(records);
    for (node, gaps) in &gaps {
        for (device, message) in &acknowledged {
            let lane = shown.get(&(*node, *device, message.lane));
            let place_of = |number: Option<&u64>| {
                number.and_then(|it| lane.and_then(|lane| lane.places.get(it))).copied()
            };
            let number = message.number;
            if lane.is_some_and(|lane| lane.numbers.contains(&number)) {
                continue;
            }
            let before = place_of(lane.and_then(|lane| lane.numbers.range(..number).next_back()));
            if gaps.last().is_none_or(|gap| *gap < before.unwrap_or_default()) {
                findings.push(FleetFinding::NotShown(*node, *device, *message));
            }
        }
    }
}
