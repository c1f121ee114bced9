//! What each application sent, was told and got, and what of it contradicts the promise.

use std::collections::{BTreeMap, BTreeSet};

use fedecks_delivery::Settled;
use fedecks_protocol::{StreamId, Tag};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Ledger {
    accepted: BTreeSet<u64>,
    handed: BTreeSet<u64>,
    /// Taken by the application together with the position.
    taken: BTreeSet<u64>,
    rejected: BTreeSet<u64>,
    delivered: BTreeSet<u64>,
    voided: BTreeSet<u64>,
    /// Numbers that the receiving application was told to be without a message.
    pub(crate) skipped: u64,
    last: BTreeMap<StreamId, u64>,
    pub(crate) sender_set_back: bool,
    pub(crate) receiver_set_back: bool,
    failures: Vec<String>,
}

impl Ledger {
    pub(crate) fn accepted(&mut self, tag: u64) {
        self.accepted.insert(tag);
    }

    /// A restored sender has no record of it.
    pub(crate) fn forgotten(&mut self, kept: &BTreeSet<u64>) {
        self.sender_set_back = true;
        self.accepted.retain(|tag| kept.contains(tag));
    }

    pub(crate) fn handed(&mut self, tag: u64, redelivered: bool) {
        let is_again = !self.handed.insert(tag);
        // A restored sender does not know what it has sent.
        if is_again && !redelivered && !self.sender_set_back {
            self.fail(format!("{tag} was handed over again without the flag"));
        }
    }

    pub(crate) fn taken(&mut self, stream: StreamId, tag: u64, is_rejected: bool) {
        let is_again = !self.taken.insert(tag);
        if is_again && !self.is_set_back() {
            self.fail(format!("{tag} was taken twice"));
        }
        if is_rejected {
            self.rejected.insert(tag);
        }
        let last = self.last.insert(stream, tag);
        if last.is_some_and(|last| last >= tag) && !self.is_set_back() {
            self.fail(format!("{tag} was taken after {last:?}"));
        }
    }

    pub(crate) fn told(&mut self, Tag(tag): Tag, settled: Settled) {
        match settled {
            Settled::Voided(_) => {
                self.voided.insert(tag);
                if self.taken.contains(&tag) && !self.is_set_back() {
                    self.fail(format!("{tag} was taken, and told to be {settled:?}"));
                }
            }
            Settled::Delivered | Settled::Rejected => {
                self.delivered.insert(tag);
                if !self.taken.contains(&tag) {
                    self.fail(format!("{tag} was told to be {settled:?}, and never taken"));
                }
                if settled == Settled::Rejected && !self.rejected.contains(&tag) {
                    self.fail(format!("{tag} was told to be rejected, and was not"));
                }
            }
        }
    }

    pub(crate) fn is_set_back(&self) -> bool {
        self.sender_set_back || self.receiver_set_back
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Everything has arrived that is going to.
    pub(crate) fn finish(&mut self) {
        let settled = |tag: &&u64| !self.taken.contains(tag) && !self.voided.contains(tag);
        let lost: Vec<_> = self.accepted.iter().filter(settled).copied().collect();
        if !lost.is_empty() {
            self.fail(format!("{lost:?} were lost in silence"));
        }
        let voided = self.voided.len() as u64;
        if !self.is_set_back() && self.skipped != voided {
            let skipped = self.skipped;
            self.fail(format!("the receiver was told of {skipped} losses, the sender of {voided}"));
        }
    }
}

const STREAM: StreamId = StreamId([1; 16]);

fn history(taken: &[u64]) -> Vec<String> {
    let mut it = Ledger::default();
    (1..=3).for_each(|tag| it.accepted(tag));
    for tag in taken {
        it.handed(*tag, true);
        it.taken(STREAM, *tag, false);
    }
    it.finish();
    it.failures
}

#[test]
fn the_ledger_finds_a_lost_a_doubled_and_a_reordered_message() {
    assert_eq!(history(&[1, 2, 3]), [""; 0]);
    assert_eq!(history(&[1, 3]), ["[2] were lost in silence"]);
    assert_eq!(history(&[1, 2, 2, 3]).first().map(String::as_str), Some("2 was taken twice"));
    assert_eq!(history(&[1, 3, 2]), ["2 was taken after Some(3)"]);
    let mut it = Ledger::default();
    it.handed(1, false);
    it.handed(1, false);
    assert_eq!(it.failures(), ["1 was handed over again without the flag"]);
    it.told(Tag(2), Settled::Delivered);
    assert_eq!(it.failures().len(), 2, "told, and never taken");
}
