//! The result of a trial as a line of JSON, and of all together.

use std::fmt;
use std::time::Duration;

use fedecks_testing::fleet_history::FleetFinding;
use fedecks_testing::history::{Finding, Verdict};
use serde_json::json;

use crate::mode::Mode;

/// How many findings a line shows.
const SHOWN: usize = 10;

/// The result of a trial.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    /// In the order in which they began.
    pub(crate) faults: Vec<String>,
    /// What is to be said of the messages of each device.
    pub(crate) verdicts: Vec<(String, Verdict)>,
    pub(crate) findings: Vec<FleetFinding>,
    /// How often sessions were opened, and how many devices were revoked.
    pub(crate) sessions: u64,
    pub(crate) revoked: usize,
    /// Deliveries of messages to the webhook, and gaps in event streams.
    pub(crate) deliveries: usize,
    pub(crate) gaps: usize,
    /// The longest time that a device, of those that never leave, was without a session.
    pub(crate) longest_away: Duration,
    pub(crate) seconds: u64,
    /// Why the trial could not be completed.
    pub(crate) failure: Option<String>,
}

impl Report {
    pub(crate) fn failed(seed: u64, mode: Mode, failure: String) -> Self {
        Self {
            seed,
            mode,
            faults: Vec::new(),
            verdicts: Vec::new(),
            findings: Vec::new(),
            sessions: 0,
            revoked: 0,
            deliveries: 0,
            gaps: 0,
            longest_away: Duration::ZERO,
            seconds: 0,
            failure: Some(failure),
        }
    }

    /// `clean`, `violated` or `failed`.
    pub(crate) fn result(&self) -> &'static str {
        match () {
            () if self.findings_count() > 0 => "violated",
            () if self.failure.is_some() => "failed",
            () => "clean",
        }
    }

    fn findings_count(&self) -> usize {
        self.of_messages().count() + self.findings.len()
    }

    fn of_messages(&self) -> impl Iterator<Item = (&str, &Finding)> {
        self.verdicts
            .iter()
            .flat_map(|(id, verdict)| verdict.findings.iter().map(move |it| (id.as_str(), it)))
    }

    pub(crate) fn json(&self) -> String {
        let sum = |count: fn(&Verdict) -> usize| -> usize {
            self.verdicts.iter().map(|(_, verdict)| count(verdict)).sum()
        };
        let of_messages = self.of_messages().map(|(id, it)| format!("{id}: {it:?}"));
        let of_fleet = self.findings.iter().map(|it| format!("{it:?}"));
        let shown: Vec<_> = of_messages.chain(of_fleet).take(SHOWN).collect();
        let line = json!({
            "seed": self.seed, "mode": self.mode.name(), "result": self.result(),
            "faults": self.faults, "sent": sum(|it| it.sent), "accepted": sum(|it| it.accepted),
            "refused": sum(|it| it.refused), "unknown": sum(|it| it.unknown),
            "received": sum(|it| it.received), "again": sum(|it| it.again),
            "sessions": self.sessions, "revoked": self.revoked, "deliveries": self.deliveries,
            "gaps": self.gaps, "longest_away_ms": u64::try_from(self.longest_away.as_millis()).unwrap(),
            "seconds": self.seconds, "findings": self.findings_count(),
            "shown": shown, "failure": self.failure,
        });
        line.to_string()
    }
}

/// The results of all trials.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    clean: u64,
    violated: u64,
    failed: u64,
    sent: usize,
}

impl Summary {
    pub(crate) fn add(&mut self, report: &Report) {
        match report.result() {
            "clean" => self.clean += 1,
            "violated" => self.violated += 1,
            _ => self.failed += 1,
        }
        self.sent += report.verdicts.iter().map(|(_, verdict)| verdict.sent).sum::<usize>();
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.violated + self.failed == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clean, violated, failed, sent } = self;
        write!(f, "{clean} trials clean, {violated} violated, {failed} failed; {sent} messages")
    }
}
