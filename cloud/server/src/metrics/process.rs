//! What the server itself uses of the machine, as metrics.

use std::fmt;
use std::fs;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};
use prometheus_client::metrics::counter::ConstCounter;

use super::writer::{MetricSource, MetricsWriter};

/// Values that cannot be read are left out.
pub(super) struct Process;

impl MetricSource for Process {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        if let Some(bytes) = resident_bytes() {
            to.gauge("process_resident_memory_bytes", "Resident memory", bytes)?;
        }
        if let Some(files) = open_files() {
            to.gauge("process_open_fds", "Open files, including connections", files)?;
        }
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let used = usage.user_time() + usage.system_time();
            let seconds = ConstCounter::new(used.num_microseconds() as f64 / 1e6);
            to.metric("process_cpu_seconds", None, "CPU time, user and system", &seconds)?;
        }
        Ok(())
    }
}

fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

fn open_files() -> Option<u64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}
