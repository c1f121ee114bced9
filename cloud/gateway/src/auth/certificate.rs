//! Client certificates: whether one is good, in the name of its device, and still good while the device is connected.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fedecks_edge::{CertificateRefused, ClientCertificate, LiveCertificate, Peer};
use fedecks_protocol::{CloseCode, DeviceId, Refusal};
use parking_lot::Mutex;

use crate::connection::registry::ConnectionHandle;
use crate::messaging::presence::ConnectionId;

/// Which name of a client certificate is the device id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CertificateName {
    /// The common name of the subject.
    #[default]
    CommonName,
    /// The only DNS name of the subjectAltName, complete.
    Dns,
    /// The end of the only URI of the subjectAltName: what follows its last `/`, or its last `:` if it has no `/`.
    Uri,
}

/// How client certificates count at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CertificateRules {
    /// Which of their names is the device id.
    pub name: CertificateName,
    /// Whether a device that is not known is registered by its certificate alone, at once.
    pub register: bool,
    /// Whether a device that is known by the key of its certificate may log in by that alone.
    pub replaces_token: bool,
}

/// A certificate that was verified, and is in the name of the device.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CertificateLogin<'a> {
    /// The certificate.
    pub certificate: &'a ClientCertificate,
    /// The rules of the listener.
    pub rules: CertificateRules,
}

/// The rules of all listeners.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    rules: HashMap<usize, CertificateRules>,
}

impl CertificateRules {
    /// These rules after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl CertificateName {
    /// The device id that the certificate is for, or why it names none.
    fn read(self, certificate: &ClientCertificate) -> Result<&str, String> {
        let only = |names: &'_ [String], what: &str| match names.len() {
            1 => Ok(()),
            count => Err(format!("it has {count} {what}, expected one")),
        };
        match self {
            Self::CommonName => {
                let name = certificate.common_name.as_deref();
                name.ok_or_else(|| "it has no common name, or several, expected one".to_owned())
            }
            Self::Dns => {
                only(&certificate.dns_names, "DNS names")?;
                Ok(&certificate.dns_names[0])
            }
            Self::Uri => {
                only(&certificate.uris, "URIs")?;
                let uri = &*certificate.uris[0];
                let end = uri.rfind('/').or_else(|| uri.rfind(':'));
                Ok(end.map_or(uri, |end| &uri[end + 1..]))
            }
        }
    }
}

impl Certificates {
    pub(crate) fn set(&mut self, listener: usize, rules: CertificateRules) {
        self.rules.insert(listener, rules);
    }

    /// The certificate that the device has presented, if it has: it has to be good now, and in the name of the device.
    /// TLS verified it when its session began, which may have been resumed since then.
    pub(crate) fn verify<'a>(
        &self,
        device: &DeviceId,
        peer: Option<&'a Peer>,
        now: u64,
    ) -> Result<Option<CertificateLogin<'a>>, Refusal> {
        let Some(peer) = peer else { return Ok(None) };
        let Some(certificate) = peer.certificate.as_deref() else { return Ok(None) };
        let rules = self.rules.get(&peer.listener).copied().unwrap_or_default();
        let refused = |reason: &str, problem: &str| {
            let ClientCertificate { subject, serial, issuer, .. } = certificate;
            tracing::info!(
                %device, subject, serial, issuer, reason, problem,
                "refused the certificate of a device"
            );
            Refusal::CertificateRefused
        };
        certificate.check(now).map_err(|problem: CertificateRefused| {
            refused(problem.reason(), &problem.to_string())
        })?;
        let name = rules.name.read(certificate).map_err(|problem| refused("name", &problem))?;
        if name != device.as_str() {
            let name = fedecks_common::text::escape(name);
            let problem = format!(
                "it is for {name:?}, expected the device id: see client_id of the listener"
            );
            return Err(refused("name", &problem));
        }
        Ok(Some(CertificateLogin { certificate, rules }))
    }
}

/// The certificates of the sessions on this node, of those that have one.
#[derive(Debug, Default)]
pub(crate) struct LiveCertificates {
    sessions: Mutex<HashMap<ConnectionId, Live>>,
    /// How many there are, so that sessions without a certificate do not wait for each other.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Live {
    connection: Arc<ConnectionHandle>,
    certificate: LiveCertificate,
}

impl LiveCertificates {
    pub(crate) fn insert(&self, connection: &Arc<ConnectionHandle>, certificate: LiveCertificate) {
        let live = Live { connection: connection.clone(), certificate };
        let mut sessions = self.sessions.lock();
        sessions.insert(connection.id(), live);
        self.count.store(sessions.len(), Ordering::Release);
    }

    pub(crate) fn key(&self, connection: ConnectionId) -> Option<[u8; 32]> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.sessions.lock().get(&connection).map(|live| live.certificate.key())
    }

    pub(crate) fn remove(&self, connection: ConnectionId) {
        // A session removes what it has inserted itself, so it sees at least its own.
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut sessions = self.sessions.lock();
        sessions.remove(&connection);
        if sessions.capacity() > 64 && sessions.len() < sessions.capacity() / 4 {
            let room = sessions.len() * 2;
            sessions.shrink_to(room);
        }
        self.count.store(sessions.len(), Ordering::Release);
    }

    /// Closes the sessions whose certificate is not good any more. Returns how many.
    pub(crate) fn close_refused(&self, now: u64) -> usize {
        let refused: Vec<_> = {
            let sessions = self.sessions.lock();
            let judged = sessions.values().filter_map(|live| {
                let problem = live.certificate.check(now).err()?;
                Some((live.connection.clone(), problem))
            });
            judged.collect()
        };
        for (connection, problem) in &refused {
            let (device, reason) = (connection.device(), problem.reason());
            tracing::info!(%device, reason, %problem, "closing a session, its certificate is refused");
            // The device keeps its token: with another certificate it may come back.
            connection.close(CloseCode::Policy);
        }
        refused.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(change: impl FnOnce(&mut ClientCertificate)) -> Peer {
        let certificate = ClientCertificate::new([7; 32]).with(change);
        let address = ([192, 0, 2, 1], 1).into();
        Peer::new(address).with(|it| it.certificate = Some(Arc::new(certificate)))
    }

    #[test]
    fn a_certificate_is_for_the_device_that_it_names() {
        let device = DeviceId::new("ab:12").unwrap();
        let text = |text: &str| text.to_owned();
        for (name, peer, accepted) in [
            (CertificateName::CommonName, peer(|it| it.common_name = Some(text("ab:12"))), true),
            (CertificateName::CommonName, peer(|it| it.common_name = Some(text("AB:12"))), false),
            (CertificateName::CommonName, peer(|it| it.dns_names = vec![text("ab:12")]), false),
            (CertificateName::Dns, peer(|it| it.dns_names = vec![text("ab:12")]), true),
            (CertificateName::Dns, peer(|it| it.dns_names = vec![text("ab:12"), text("b")]), false),
            (CertificateName::Dns, peer(|it| it.common_name = Some(text("ab:12"))), false),
            (CertificateName::Uri, peer(|it| it.uris = vec![text("spiffe://x/dev/ab:12")]), true),
            (CertificateName::Uri, peer(|it| it.uris = vec![text("ab:12")]), false),
            (CertificateName::Uri, peer(|it| it.uris = vec![text("spiffe://x/ab:12/")]), false),
            (CertificateName::Uri, peer(|_| {}), false),
        ] {
            let mut certificates = Certificates::default();
            certificates.set(0, CertificateRules::default().with(|it| it.name = name));
            let verified = certificates.verify(&device, Some(&peer), 0);
            let shown = format!("{name:?} {:?}", peer.certificate);
            assert_eq!(verified.is_ok(), accepted, "{shown}");
        }
    }

    #[test]
    fn dates_are_checked_and_no_certificate_is_none() {
        let device = DeviceId::new("a").unwrap();
        let certificates = Certificates::default();
        let peer = peer(|it| {
            it.common_name = Some("a".to_owned());
            (it.not_before, it.not_after) = (10, 20);
        });
        for (now, accepted) in [(9, false), (10, true), (20, true), (21, false)] {
            assert_eq!(certificates.verify(&device, Some(&peer), now).is_ok(), accepted, "{now}");
        }
        let without = Peer::new(peer.address);
        for peer in [None, Some(&without)] {
            assert!(certificates.verify(&device, peer, 0).unwrap().is_none());
        }
    }
}
