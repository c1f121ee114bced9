//! The login by the device's own certificate alone, without credentials.

use fedecks_device::Client;
use fedecks_protocol::Credentials;
use tracing::{info, warn};

use super::login::{Retry, log_in};
use super::provisioner::Provisioner;
use super::source::Source;
use super::status::SourceState;
use crate::login_error::explain;

/// Nothing is used up by it, so that a device without a token can always try it.
pub(super) struct CertificateLogin {
    source: Source,
}

impl CertificateLogin {
    pub(super) fn new(source: Source) -> Self {
        Self { source }
    }

    /// Logs in. A refusal puts it off until later.
    pub(super) async fn log_in(
        &self,
        client: &Client,
        provisioner: &Provisioner,
        retry: &mut Retry,
    ) {
        let (source, file) = (&self.source, self.source.path.display());
        let report = |state, reason| provisioner.report(source, state, false, reason);
        info!(%file, "logging in by the certificate alone");
        report(SourceState::LoggingIn, None);
        let waits = |reason| provisioner.waits(source, reason);
        match log_in(client, Credentials::new(), waits).await {
            Ok(_) => {
                report(SourceState::Used, None);
            }
            Err(error) => {
                let reason = explain(&error, client.device_id());
                warn!(%file, reason, "the login by certificate is tried again within an hour");
                report(SourceState::PutOff, Some(reason));
                retry.later();
            }
        }
    }
}
