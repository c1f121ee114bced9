//! Waiting with a deadline, and skipping loudly what cannot run here.

use std::io::Write;
use std::panic::Location;
use std::time::Duration;

/// How long anything that is awaited may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The output of `future`.
///
/// # Panics
///
/// If it takes longer than [`PATIENCE`]; names the caller.
#[track_caller]
pub fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let output = tokio::time::timeout(PATIENCE, future).await;
        output.unwrap_or_else(|_| panic!("timed out at {caller}"))
    }
}

/// Calls `check` every 10 ms until it returns a value.
///
/// # Panics
///
/// If that takes longer than [`PATIENCE`]; names the caller.
#[track_caller]
pub fn until<T>(check: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    until_every(Duration::from_millis(10), check)
}

/// The same with another interval.
#[track_caller]
pub fn until_every<T>(
    interval: Duration,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    within(async move {
        loop {
            if let Some(value) = check().await {
                return value;
            }
            tokio::time::sleep(interval).await;
        }
    })
}

/// Reports a test that cannot run on this machine.
///
/// # Panics
///
/// Where `FEDECKS_TESTS_COMPLETE` is set, as it is on the machine that decides about a change.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("FEDECKS_TESTS_COMPLETE").is_none(), "cannot run here: {reason}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    // Past the test runner, which hides the output of tests that pass. A full pipe is not a failure.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// Whether this process is root; reports the test as skipped if it is not.
pub fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        skip("needs root");
    }
    is_root
}
