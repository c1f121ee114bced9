//! A cloud, the service, and what both need.

pub(crate) mod bus;
pub(crate) mod cloud;
pub(crate) mod fedecksd;
pub(crate) mod machine;
pub(crate) mod namespace;
pub(crate) mod network_manager;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long anything that is awaited may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the future gives, or a failure if it takes too long.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing came of it in time")
}

/// The command, which is another package. Cargo builds it beside the service where it also tests that
/// package, whose own tests run it: as part of the workspace, or by `-p fedecks-cli`, which `ci/test` adds.
pub(crate) fn fedecks() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_fedecksd")).with_file_name("fedecks");
    assert!(program.exists(), "{} is missing; add -p fedecks-cli", program.display());
    program
}

/// Whether this is root, who may mount; says it loudly if not.
pub(crate) fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        skip("it takes root to mount");
    }
    is_root
}

/// Says loudly that a test cannot run here. Where `FEDECKS_TESTS_COMPLETE` is set, as it is on the
/// machine that decides about a change, it fails instead.
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var_os("FEDECKS_TESTS_COMPLETE").is_none(), "cannot run here: {reason}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    // Past the test runner, which shows nothing of what passes. A full pipe is not the test's fault.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}
