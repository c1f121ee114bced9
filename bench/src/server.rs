mod bare;
mod fedecks;

use std::io::Read;
use std::path::PathBuf;

use crate::Result;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// tokio-tungstenite with a small read buffer and nothing else.
    Bare,
    /// Ours.
    Fedecks,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Fedecks, Self::Bare];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "tokio-tungstenite",
            Self::Fedecks => "fedecks-cloud",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        Self::BOTH
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("no server is called {name:?}").into())
    }
}

pub(crate) struct ServeOptions {
    pub(crate) kind: Kind,
    /// Certificate and key, in PEM files.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// Where the server may write.
    pub(crate) folder: PathBuf,
}

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
