//! `fedecks-cloud`: the ready-made server that Fedecks devices connect to.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// mimalloc returns the memory of thousands of simultaneous handshakes to the system. The C library's
/// allocator keeps it, because longer-lived allocations of each connection lie in between.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    fedecks_server::run()
}
