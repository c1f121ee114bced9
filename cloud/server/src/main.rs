//! `fedecks-cloud`: the ready-made server that Fedecks devices connect to.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// After thousands of connections at once it gives back to the system what only their handshakes took;
/// the C library's allocator keeps it, because what stays of each connection lies in between.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    fedecks_server::run()
}
