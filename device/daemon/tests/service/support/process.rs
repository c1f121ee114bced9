//! Processes that a program under test has started: found by the id that they write, and awaited.

use std::fs;
use std::path::Path;

use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::until;

/// The lines of a script that write the id of the last process in its background to this file.
pub(crate) fn write_id(id: &str, file: &Path) -> String {
    format!("echo {id} > {0}.new; mv {0}.new {0}", file.display())
}

/// The id that is in the file, once it is there.
pub(crate) async fn id_in(file: &Path) -> Pid {
    let read = async || Some(fs::read_to_string(file).ok()?.trim().parse().unwrap());
    Pid::from_raw(until(read).await)
}

/// A zombie counts as gone: it may have no parent that waits for it.
pub(crate) fn is_gone(id: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    kill(id, None).is_err() || stat.contains(") Z ")
}

/// Waits until the process is gone.
#[track_caller]
pub(crate) fn gone(id: Pid) -> impl Future<Output = ()> {
    until(async move || is_gone(id).then_some(()))
}
