//! The measured servers, each of which runs in a separate process.

mod bare;
mod fedecks;
mod kind;

use std::io::Read;

pub(crate) use kind::{Kind, ServeOptions};

use crate::error::Result;

/// Serves on a free port, prints its address, and ends when the standard input does.
#[expect(clippy::print_stdout, reason = "the address is for the process that started this one")]
pub(crate) fn run(options: &ServeOptions) -> Result<()> {
    // As the program fedecks-cloud has it: a worker for each core.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Dropping our server stops it.
    let (address, _server) = match options.kind {
        Kind::Bare => (runtime.block_on(bare::start(options))?, None),
        Kind::Fedecks => {
            let server = runtime.block_on(fedecks::start(options))?;
            (*server.addresses().first().ok_or("the server listens nowhere")?, Some(server))
        }
    };
    println!("{address}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    runtime.shutdown_background();
    Ok(())
}
