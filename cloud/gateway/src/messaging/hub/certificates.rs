//! Sessions of devices that have presented a client certificate.

use std::sync::Arc;

use fedecks_edge::LiveCertificate;
use fedecks_protocol::CloseCode;
use fedecks_store::unix_now;

use super::Hub;
use crate::connection::registry::ConnectionHandle;
use crate::messaging::presence::ConnectionId;

impl Hub {
    /// Closes the sessions of this node whose client certificate has expired, or was revoked by a list that is loaded
    /// now, and returns how many: with 1008, so that the device keeps its token and stays away for minutes. Call it after
    /// `Tls::reload`, and now and then.
    pub fn close_refused_certificates(&self) -> usize {
        self.0.certificates.close_refused(unix_now())
    }

    /// The key of the certificate of a connection.
    pub(crate) fn certificate_key(&self, connection: ConnectionId) -> Option<[u8; 32]> {
        self.0.certificates.key(connection)
    }

    /// Keeps the certificate of a connection that was just registered, until that is unregistered.
    pub(super) fn watch_certificate(
        &self,
        connection: &Arc<ConnectionHandle>,
        certificate: Option<&LiveCertificate>,
    ) {
        let Some(certificate) = certificate else { return };
        self.0.certificates.insert(connection, certificate.clone());
        // Again, now that it is registered: a list that was loaded in the meantime has missed it.
        if certificate.check(unix_now()).is_err() {
            connection.close(CloseCode::Policy);
        }
    }
}
