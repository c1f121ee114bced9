//! The measured servers, each of which runs in a separate process.

mod bare;
mod fastwebsockets;
mod fedecks;
mod floor;
mod kind;
mod listen;
mod tokio_websockets;

use std::io::Read;
use std::net::SocketAddr;

use fedecks_cloud::serve::Server;
pub(crate) use kind::{Kind, ServeOptions};

use crate::error::Result;

/// Serves on a free port, prints its address, and ends when the standard input does.
#[expect(clippy::print_stdout, reason = "the address is for the process that started this one")]
pub(crate) fn run(options: &ServeOptions) -> Result<()> {
    // As the program fedecks-cloud has it: a worker for each core.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (address, _server) = runtime.block_on(start(options))?;
    println!("{address}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    runtime.shutdown_background();
    Ok(())
}

/// Dropping our server stops it.
async fn start(options: &ServeOptions) -> Result<(SocketAddr, Option<Server>)> {
    let address = match options.kind {
        Kind::Bare => bare::start(options)?,
        Kind::Fastwebsockets => fastwebsockets::start()?,
        Kind::TokioWebsockets => tokio_websockets::start()?,
        Kind::Floor => floor::start()?,
        Kind::Fedecks => {
            let server = fedecks::start(options).await?;
            let address = *server.addresses().first().ok_or("the server listens nowhere")?;
            return Ok((address, Some(server)));
        }
    };
    Ok((address, None))
}
