//! What all measurements share: the options, a folder, a certificate, and starting a server.

use std::path::Path;

use tempfile::TempDir;

use crate::client::Target;
use crate::error::Result;
use crate::identity::{Certificate, add_account};
use crate::options::Options;
use crate::process::ServerProcess;
use crate::server::Kind;

/// No limit on how fast connections are accepted, as the other servers have none.
pub(crate) const ANY_RATE: &str =
    "[limits]\naccepts_per_second = 1000000\naccept_burst = 1000000\n";

/// What all measurements share.
pub(crate) struct Setting<'a> {
    pub(crate) options: &'a Options,
    pub(crate) folder: TempDir,
    pub(crate) certificate: Certificate,
}

impl Setting<'_> {
    pub(crate) async fn start(
        &self,
        kind: Kind,
        tls: Option<&Certificate>,
        folder: &Path,
    ) -> Result<(ServerProcess, Target)> {
        if kind == Kind::Fedecks {
            add_account(folder).await?;
        }
        let server = ServerProcess::start(kind, tls, folder, &self.options.under).await?;
        let tls = tls.map(Certificate::client);
        let target = Target { kind, address: server.address, tls };
        Ok((server, target))
    }
}
