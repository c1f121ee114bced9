//! The verdict about the history of a fleet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::entry::{Device, FleetEntry, FleetRecord, Node};
use super::finding::FleetFinding;
use super::messages;
use crate::history::Message;

/// How long a revocation, or the end of a superseded session, may take.
const PROMPTLY: Duration = Duration::from_secs(2);

/// How often `/readyz` is asked at most: what a server says holds for this time before and after.
const SAMPLE: Duration = Duration::from_millis(600);

/// How long it may take until the presence is right after the last fault.
const CONVERGES: Duration = Duration::from_secs(30);

/// How long a device may be without a session that never leaves by itself: 10 s over which the devices of a server that
/// ends come back, and what a busy machine takes.
const AWAY: Duration = Duration::from_secs(15);

/// The rules that these records, in the order of their times, break. Each breach is named once.
pub fn check(records: &[FleetRecord]) -> Vec<FleetFinding> {
    let mut findings = Vec::new();
    let excuses = Excuses::of(records);
    revocations(records, &excuses, &mut findings);
    sessions(records, &excuses, &mut findings);
    presence(records, &mut findings);
    messages::webhooks(records, &mut findings);
    messages::streams(records, &mut findings);
    for record in records {
        if let FleetEntry::Broken(text) = &record.entry {
            findings.push(FleetFinding::Broken(text.clone()));
        }
        if let FleetEntry::Back { device, away } = record.entry {
            if away > AWAY {
                findings.push(FleetFinding::Away(device, away));
            }
        }
    }
    let mut kept: Vec<FleetFinding> = Vec::new();
    for finding in findings {
        if !kept.contains(&finding) {
            kept.push(finding);
        }
    }
    kept
}

/// When each server said that it is cut off, and when it returned.
struct Excuses {
    cut_off: HashMap<Node, Vec<Duration>>,
    returns: HashMap<Node, Vec<Duration>>,
}

impl Excuses {
    #[expect(clippy::wildcard_enum_match_arm, reason = "each rule is about some kinds of entries")]
    fn of(records: &[FleetRecord]) -> Self {
        let mut excuses = Self { cut_off: HashMap::new(), returns: HashMap::new() };
        for FleetRecord { at, entry } in records {
            match entry {
                FleetEntry::Says { node, is_cut_off: true } => {
                    excuses.cut_off.entry(*node).or_default().push(*at);
                }
                FleetEntry::Returns(node) => excuses.returns.entry(*node).or_default().push(*at),
                _ => {}
            }
        }
        excuses
    }

    /// Whether a server may act on what it does not know yet, for a request of this time that it answered at that one.
    fn hold(&self, node: Node, asked: Duration, answered: Duration) -> bool {
        let any = |times: &HashMap<Node, Vec<Duration>>, before: Duration| {
            let times = times.get(&node).map(Vec::as_slice).unwrap_or_default();
            times.iter().any(|at| *at + before >= asked && *at <= answered + SAMPLE)
        };
        any(&self.cut_off, SAMPLE) || any(&self.returns, PROMPTLY)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "each rule is about some kinds of entries")]
fn revocations(records: &[FleetRecord], excuses: &Excuses, findings: &mut Vec<FleetFinding>) {
    let mut revoked = BTreeMap::new();
    for FleetRecord { at, entry } in records {
        match entry {
            FleetEntry::Revoked(device) => {
                revoked.entry(*device).or_insert(*at);
            }
            FleetEntry::Serves { node, device, asked } => {
                let is_late = revoked.get(device).is_some_and(|since| *asked > *since + PROMPTLY);
                if is_late && !excuses.hold(*node, *asked, *at) {
                    findings.push(FleetFinding::NotRefused(*device, *node));
                }
            }
            _ => {}
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "each rule is about some kinds of entries")]
fn sessions(records: &[FleetRecord], excuses: &Excuses, findings: &mut Vec<FleetFinding>) {
    // The sessions that are established, with the times and the messages that were made until then.
    let mut established: HashMap<Device, Vec<(u64, Duration)>> = HashMap::new();
    // The newest session that was established when a message was made.
    let mut made: HashMap<(Device, Message), u64> = HashMap::new();
    for FleetRecord { at, entry } in records {
        match entry {
            FleetEntry::Established { device, session } => {
                established.entry(*device).or_default().push((*session, *at));
            }
            FleetEntry::Made(device, message) => {
                let sessions = established.get(device).map(Vec::as_slice).unwrap_or_default();
                let newest = sessions.iter().map(|(session, _)| *session).max();
                made.insert((*device, *message), newest.unwrap_or_default());
            }
            FleetEntry::Acknowledged { device, session, message }
                if made.get(&(*device, *message)).is_some_and(|newest| newest > session) =>
            {
                findings.push(FleetFinding::AcceptedBySuperseded(*device, *session, *message));
            }
            FleetEntry::HandedOver { device, session, message }
                if made.get(&(*device, *message)).is_some_and(|newest| newest > session) =>
            {
                findings.push(FleetFinding::HandedToSuperseded(*device, *session, *message));
            }
            FleetEntry::Open { node, device, session, asked } => {
                let sessions = established.get(device).map(Vec::as_slice).unwrap_or_default();
                let is_late = |(newer, since): &(u64, Duration)| {
                    newer > session && *asked > *since + PROMPTLY
                };
                if sessions.iter().any(is_late) && !excuses.hold(*node, *asked, *at) {
                    findings.push(FleetFinding::StaysOpen(*device, *session, *node));
                }
            }
            _ => {}
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "each rule is about some kinds of entries")]
fn presence(records: &[FleetRecord], findings: &mut Vec<FleetFinding>) {
    let mut over = Duration::ZERO;
    let mut converged = BTreeSet::new();
    for FleetRecord { at, entry } in records {
        match entry {
            FleetEntry::FaultsOver => {
                over = *at;
                converged.clear();
            }
            FleetEntry::Converged(node) if *at <= over + CONVERGES => {
                converged.insert(*node);
            }
            FleetEntry::Ended(nodes) => {
                let late = nodes.iter().filter(|node| !converged.contains(*node));
                findings.extend(late.map(|node| FleetFinding::NotConverged(*node)));
            }
            _ => {}
        }
    }
}
