//! What is missing from the log, as metrics.

use std::fmt;

use fedecks_common::log;

use super::writer::{MetricSource, MetricsWriter};

/// Of the log of this process.
pub(super) struct LogLines;

impl MetricSource for LogLines {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        let stats = log::stats();
        to.counter(
            "log_lines_dropped",
            "Log lines that were dropped because standard error did not take them in time",
            stats.dropped,
        )?;
        to.counter(
            "log_lines_suppressed",
            "Log lines that were left out because there were too many of one kind",
            stats.suppressed,
        )
    }
}
