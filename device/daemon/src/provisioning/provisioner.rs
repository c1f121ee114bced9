//! Decides which credentials to use next, and removes or marks them afterwards. Does not log in.
//! Every call blocks on the disk.

use std::collections::{BTreeMap, BTreeSet};

use fedecks_device::storage::{DataDir, StoreError, TokenStore};
use fedecks_protocol::{Credentials, DeviceId};
use ring::digest;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::record::{Entry, Fingerprint, Record, RecordFile, Verdict};
use super::removal::{NotRemoved, remove, rename_rejected};
use super::source::{Content, FileStamp, ReadResult, Source};
use super::status::{ProvisioningStatus, SourceKind, SourceState, SourceStatus};
use crate::config::DeviceConfig;
use crate::hex;

/// The sources of credentials, and what was done with them.
pub(crate) struct Provisioner {
    device: DeviceId,
    sources: Vec<Source>,
    record: RecordFile,
    tokens: TokenStore,
    /// The contents that were used, rejected or put off since the start. They are not used again.
    handled: BTreeMap<SourceKind, FileStamp>,
    /// Those of them that are tried again before the next start.
    later: BTreeSet<SourceKind>,
    /// The device's own certificate, if that is enough for a login.
    certificate: Option<Source>,
    status: watch::Sender<ProvisioningStatus>,
}

/// The next step.
pub(super) enum Next {
    Nothing,
    LogIn(Attempt, Credentials),
    /// The record of used credentials cannot be read.
    NoRecord(StoreError),
}

/// A login with the content of a source. Does not contain the credentials.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    source: Source,
    stamp: FileStamp,
    fingerprint: Fingerprint,
    is_claim: bool,
}

impl Attempt {
    pub(super) fn source(&self) -> &Source {
        &self.source
    }
}

impl Provisioner {
    /// The file comes first: it was added after the image, which contains the credential, was built.
    pub(crate) fn new(config: &DeviceConfig, data_dir: &DataDir, device: DeviceId) -> Self {
        let file = Source { kind: SourceKind::File, path: config.provision_file.clone() };
        let credential = config.provision_credential.clone();
        let credential = credential.map(|path| Source { kind: SourceKind::Credential, path });
        let sources: Vec<_> = std::iter::once(file).chain(credential).collect();
        let absent = |source: &Source| SourceStatus {
            kind: source.kind,
            place: source.path.clone(),
            state: SourceState::Absent,
            is_there: false,
            reason: None,
        };
        let certificate = config.certificate_login.clone();
        let certificate = certificate.map(|path| Source { kind: SourceKind::Certificate, path });
        let status = sources.iter().chain(&certificate).map(absent).collect();
        let status = ProvisioningStatus { sources: status };
        Self {
            sources,
            record: RecordFile::new(data_dir),
            tokens: TokenStore::new(data_dir, device.clone()),
            device,
            handled: BTreeMap::new(),
            later: BTreeSet::new(),
            certificate,
            status: watch::Sender::new(status),
        }
    }

    /// The status of the sources, as it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<ProvisioningStatus> {
        self.status.subscribe()
    }

    /// Finds credentials that were not used yet, and removes used ones if possible. `without_record`: even if
    /// it is unknown which ones were used before; but never while another process uses the data directory.
    pub(super) fn next(&mut self, without_record: bool) -> Next {
        let record = match self.record.read() {
            Ok(record) => record,
            Err(error) if without_record && !matches!(error, StoreError::InUse { .. }) => {
                Record::default()
            }
            Err(error) => {
                let sources = self.sources.clone();
                let is_there = sources.iter().any(|source| self.unhandled(source).is_some());
                return if is_there || self.certificate.is_some() {
                    Next::NoRecord(error)
                } else {
                    Next::Nothing
                };
            }
        };
        for source in self.sources.clone() {
            let Some(content) = self.unhandled(&source) else { continue };
            let known = record.find(source.kind, &self.with_device_id(&content));
            let fingerprint = known.map(|entry| entry.content.clone());
            let fingerprint =
                fingerprint.unwrap_or_else(|| Fingerprint::new(&self.with_device_id(&content)));
            let is_claim = content.is_claim();
            let attempt = Attempt { source, stamp: content.stamp, fingerprint, is_claim };
            match known.map(|entry| &entry.verdict) {
                Some(Verdict::Used) => self.used(&attempt),
                Some(Verdict::Rejected(reason)) => self.rejected(&attempt, reason),
                // A power cut after the token was on disk.
                Some(Verdict::Tried { before }) if self.has_other_token(before.as_deref()) => {
                    self.used(&attempt);
                }
                Some(Verdict::Tried { .. }) | None => {
                    let (file, source) =
                        (attempt.source.path.display(), attempt.source.kind.name());
                    info!(%file, source, "logging in with provisioning credentials");
                    if content.is_world_readable {
                        warn!(
                            %file,
                            "every user of this device can read the credentials: the file system has no \
                             permissions"
                        );
                    }
                    self.report(&attempt.source, SourceState::LoggingIn, true, None);
                    return Next::LogIn(attempt, content.credentials);
                }
            }
        }
        Next::Nothing
    }

    /// To be called before the credentials are sent.
    pub(super) fn begin(&mut self, attempt: &Attempt) {
        let before = self.token();
        self.put(attempt, Verdict::Tried { before });
    }

    /// The login was refused, but not because of the credentials. The device may continue with its current token, and
    /// if the cloud replaces that by a newer one, this login is not the reason.
    fn cancel(&mut self, attempt: &Attempt) {
        self.clear(attempt.source.kind);
    }

    /// The login has succeeded, but the token is not on disk.
    pub(super) fn unstored(&mut self, attempt: &Attempt) {
        warn!(
            file = %attempt.source.path.display(),
            "the provisioning credentials are kept until the token is on disk"
        );
        self.report(&attempt.source, SourceState::Unstored, true, None);
    }

    /// The login has succeeded and the token is on disk.
    pub(super) fn used(&mut self, attempt: &Attempt) {
        self.retire(attempt);
        let later = self.sources.iter().skip_while(|source| source.kind != attempt.source.kind);
        for source in later.skip(1).cloned().collect::<Vec<_>>() {
            self.skip(source);
        }
    }

    /// The cloud has rejected the credentials.
    pub(super) fn rejected(&mut self, attempt: &Attempt, reason: &str) {
        let Source { kind, path } = &attempt.source;
        let file = path.display();
        match kind {
            SourceKind::Credential | SourceKind::Certificate => {
                error!(%file, reason, "the provisioning credential was rejected");
                self.put(attempt, Verdict::Rejected(reason.to_owned()));
                self.report(&attempt.source, SourceState::Rejected, true, Some(reason.to_owned()));
            }
            SourceKind::File => match rename_rejected(path, &attempt.stamp, reason) {
                Ok(renamed) => {
                    let renamed = renamed.display();
                    error!(%file, reason, %renamed, "the provisioning file was rejected and renamed");
                    self.clear(*kind);
                    let reason = format!("{reason}; renamed to {renamed}");
                    self.report(&attempt.source, SourceState::Rejected, false, Some(reason));
                }
                // The new file was not rejected.
                Err(NotRemoved::Replaced) => return,
                Err(NotRemoved::Failed(error)) => {
                    error!(%file, reason, %error, "the provisioning file was rejected but cannot be renamed");
                    self.put(attempt, Verdict::Rejected(reason.to_owned()));
                    let reason = format!("{reason}; cannot be renamed: {error}");
                    self.report(&attempt.source, SourceState::Rejected, true, Some(reason));
                }
            },
        }
        self.handled.insert(*kind, attempt.stamp.clone());
    }

    /// The login waits for this reason, or for none that is known.
    pub(super) fn waits(&self, source: &Source, reason: Option<String>) {
        let is_there = source.kind != SourceKind::Certificate;
        self.report(source, SourceState::LoggingIn, is_there, reason);
    }

    /// The credentials were not used, for a reason other than themselves.
    pub(super) fn put_off(&mut self, attempt: &Attempt, reason: &str) {
        warn!(
            file = %attempt.source.path.display(), reason,
            "the provisioning credentials are not used until the next start"
        );
        self.report(&attempt.source, SourceState::PutOff, true, Some(reason.to_owned()));
        self.handled.insert(attempt.source.kind, attempt.stamp.clone());
    }

    /// The cloud may accept the credentials when an operator has done something.
    pub(super) fn put_off_until_later(&mut self, attempt: &Attempt, reason: &str) {
        warn!(
            file = %attempt.source.path.display(), reason,
            "the provisioning credentials are kept and tried again within an hour"
        );
        self.cancel(attempt);
        self.report(&attempt.source, SourceState::PutOff, true, Some(reason.to_owned()));
        self.handled.insert(attempt.source.kind, attempt.stamp.clone());
        self.later.insert(attempt.source.kind);
    }

    /// Tries again what was put off until later.
    pub(super) fn try_again(&mut self) {
        for kind in std::mem::take(&mut self.later) {
            self.handled.remove(&kind);
        }
    }

    /// The device's own certificate, if it is enough for a login.
    pub(super) fn certificate(&self) -> Option<&Source> {
        self.certificate.as_ref()
    }

    /// The content of the source, unless it was handled already.
    fn unhandled(&mut self, source: &Source) -> Option<Content> {
        let handled = self.handled.get(&source.kind);
        if handled.is_some() && handled == FileStamp::at(&source.path).ok().as_ref() {
            return None;
        }
        match source.read() {
            ReadResult::Content(content) => Some(content),
            ReadResult::Absent => {
                self.mark_absent(source);
                None
            }
            ReadResult::Unusable(problem) => {
                if self.report(source, SourceState::Unusable, true, Some(problem.clone())) {
                    let file = source.path.display();
                    error!(%file, problem, "the provisioning credentials cannot be used");
                }
                None
            }
        }
    }

    /// Removes used credentials, or marks them as used.
    fn retire(&mut self, attempt: &Attempt) {
        let Source { kind, path } = &attempt.source;
        let file = path.display();
        match kind {
            SourceKind::Credential | SourceKind::Certificate => {
                info!(%file, "the provisioning credential was used");
                self.put(attempt, Verdict::Used);
                self.report(&attempt.source, SourceState::Used, true, None);
            }
            SourceKind::File => match remove(path, &attempt.stamp) {
                Ok(()) => {
                    info!(%file, "the provisioning file was used and removed");
                    self.clear(*kind);
                    self.report(&attempt.source, SourceState::Used, false, None);
                }
                // The new file was not used.
                Err(NotRemoved::Replaced) => return,
                Err(NotRemoved::Failed(error)) => {
                    match attempt.is_claim {
                        // In an image, where it is found again by a device that has lost its data.
                        true => info!(%file, %error, "the claim was used and stays"),
                        false => {
                            error!(%file, %error, "the provisioning file was used but cannot be removed");
                        }
                    }
                    self.put(attempt, Verdict::Used);
                    let reason = format!("cannot be removed: {error}");
                    self.report(&attempt.source, SourceState::Used, true, Some(reason));
                }
            },
        }
        self.handled.insert(*kind, attempt.stamp.clone());
    }

    /// An earlier source has given a token, so this one is not needed.
    fn skip(&mut self, source: Source) {
        let Some(content) = self.unhandled(&source) else { return };
        let record = self.record.read().unwrap_or_default();
        let known = record.find(source.kind, &self.with_device_id(&content));
        if known.is_some_and(|entry| entry.verdict == Verdict::Used) {
            return;
        }
        let fingerprint = Fingerprint::new(&self.with_device_id(&content));
        let is_claim = content.is_claim();
        self.retire(&Attempt { source, stamp: content.stamp, fingerprint, is_claim });
    }

    /// The bytes for the fingerprint. They contain the device id: another device, with a copy of the data
    /// directory or after a change of the id, has not used these credentials yet and has another token.
    fn with_device_id(&self, content: &Content) -> Vec<u8> {
        [self.device.as_str().as_bytes(), b"\n", &content.bytes].concat()
    }

    fn has_other_token(&self, before: Option<&str>) -> bool {
        self.token().is_some_and(|token| Some(token.as_str()) != before)
    }

    /// The hash of the token on disk. A fast hash is enough, as a token cannot be guessed.
    fn token(&self) -> Option<String> {
        let issued = self.tokens.load().ok()??;
        let hash = digest::digest(&digest::SHA256, issued.token.expose().as_bytes());
        hash.as_ref().get(..16).map(hex::encode)
    }

    fn put(&self, attempt: &Attempt, verdict: Verdict) {
        let content = attempt.fingerprint.clone();
        let entry = Entry { kind: attempt.source.kind, content, verdict };
        if let Err(error) = self.record.put(entry) {
            warn!(%error, "cannot save the record of provisioning credentials");
        }
    }

    fn clear(&self, kind: SourceKind) {
        if let Err(error) = self.record.clear(kind) {
            warn!(%error, "cannot clear the record of provisioning credentials");
        }
    }

    /// Used and renamed files keep their status; anything else becomes absent.
    fn mark_absent(&mut self, source: &Source) {
        self.handled.remove(&source.kind);
        self.status.send_if_modified(|status| {
            let mut changed = false;
            for known in status.sources.iter_mut().filter(|known| known.kind == source.kind) {
                if known.is_there {
                    known.state = SourceState::Absent;
                    known.is_there = false;
                    known.reason = None;
                    changed = true;
                }
            }
            changed
        });
    }

    /// Returns whether the status has changed.
    pub(super) fn report(
        &self,
        source: &Source,
        state: SourceState,
        is_there: bool,
        reason: Option<String>,
    ) -> bool {
        let place = source.path.clone();
        let now = SourceStatus { kind: source.kind, place, state, is_there, reason };
        self.status.send_if_modified(|status| {
            let known = status.sources.iter_mut().find(|known| known.kind == source.kind);
            known.is_some_and(|known| {
                let changed = *known != now;
                *known = now;
                changed
            })
        })
    }
}

#[cfg(test)]
mod tests;
