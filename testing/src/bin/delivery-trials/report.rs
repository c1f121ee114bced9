//! The result of a trial as a line of JSON, and of all together.

use std::fmt;

use fedecks_testing::history::{Direction, Message, Verdict};
use serde_json::json;
use tokio::task::JoinError;

use crate::options::Options;

/// How many findings a line shows.
const SHOWN: usize = 10;

/// The result of a trial.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) keep: &'static str,
    /// In the order in which they began.
    pub(crate) faults: Vec<String>,
    pub(crate) verdict: Verdict,
    /// How often the stream of events said that some are missing.
    pub(crate) gaps: u64,
    /// Bytes that the relay has swallowed.
    pub(crate) swallowed: u64,
    /// Why the trial could not be completed.
    pub(crate) failure: Option<String>,
}

impl Report {
    pub(crate) fn failed(seed: u64, options: &Options, error: &JoinError) -> Self {
        Self {
            seed,
            keep: options.keep.name(),
            faults: Vec::new(),
            verdict: Verdict::default(),
            gaps: 0,
            swallowed: 0,
            failure: Some(error.to_string()),
        }
    }

    /// `clean`, `lossy` (as its messages allow), `violated` or `failed`.
    fn result(&self) -> &'static str {
        match () {
            () if !self.verdict.findings.is_empty() => "violated",
            () if self.failure.is_some() => "failed",
            () if self.verdict.is_clean() => "clean",
            () => "lossy",
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.result() == "clean"
    }

    pub(crate) fn json(&self) -> String {
        let Verdict { sent, accepted, refused, unknown, received, again, .. } = self.verdict;
        let Verdict { reported_lost, lost, findings, .. } = &self.verdict;
        let shown: Vec<_> = findings.iter().take(SHOWN).map(|it| format!("{it:?}")).collect();
        let line = json!({
            "seed": self.seed, "keep": self.keep, "result": self.result(), "faults": self.faults,
            "sent": sent, "accepted": accepted, "refused": refused, "unknown": unknown,
            "received": received, "again": again, "reported_lost": reported_lost.len(),
            "lost_up": count(lost, Direction::Up), "lost_down": count(lost, Direction::Down),
            "gaps": self.gaps, "swallowed_bytes": self.swallowed,
            "findings": findings.len(), "shown": shown, "failure": self.failure,
        });
        line.to_string()
    }
}

fn count(messages: &[Message], direction: Direction) -> usize {
    messages.iter().filter(|message| message.direction == direction).count()
}

/// The results of all trials.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    clean: u64,
    lossy: u64,
    violated: u64,
    failed: u64,
    sent: usize,
    lost: usize,
}

impl Summary {
    pub(crate) fn add(&mut self, report: &Report) {
        match report.result() {
            "clean" => self.clean += 1,
            "lossy" => self.lossy += 1,
            "violated" => self.violated += 1,
            _ => self.failed += 1,
        }
        self.sent += report.verdict.sent;
        self.lost += report.verdict.lost.len();
    }

    /// Why all together are a failure.
    pub(crate) fn problem(&self, options: &Options) -> Option<&'static str> {
        if self.violated + self.failed > 0 {
            Some("a trial was violated or failed")
        } else if options.expect_losses && self.lost == 0 {
            Some("no message was lost, although losses were expected")
        } else {
            None
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clean, lossy, violated, failed, sent, lost } = self;
        write!(
            f,
            "{clean} trials clean, {lossy} lossy, {violated} violated, {failed} failed; \
             {lost} of {sent} messages lost as allowed"
        )
    }
}
