//! Decides which credentials to use next, and removes or marks them afterwards. Does not log in.
//! Every call blocks on the disk.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fedecks_device::storage::{DataDir, StoreError, TokenStore};
use fedecks_protocol::{Credentials, DeviceId};
use nix::libc;
use ring::digest;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::record::{Entry, Fingerprint, Record, RecordFile, Verdict};
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
        let status = ProvisioningStatus { sources: sources.iter().map(absent).collect() };
        Self {
            sources,
            record: RecordFile::new(data_dir),
            tokens: TokenStore::new(data_dir, device.clone()),
            device,
            handled: BTreeMap::new(),
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
                return if is_there { Next::NoRecord(error) } else { Next::Nothing };
            }
        };
        for source in self.sources.clone() {
            let Some(content) = self.unhandled(&source) else { continue };
            let known = record.find(source.kind, &self.with_device_id(&content));
            let fingerprint = known.map(|entry| entry.content.clone());
            let fingerprint =
                fingerprint.unwrap_or_else(|| Fingerprint::new(&self.with_device_id(&content)));
            let attempt = Attempt { source, stamp: content.stamp, fingerprint };
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

    /// The login was refused, but not because of the credentials.
    pub(super) fn cancel(&mut self, attempt: &Attempt) {
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
            SourceKind::Credential => {
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

    /// The credentials were not used, for a reason other than themselves.
    pub(super) fn put_off(&mut self, attempt: &Attempt, reason: &str) {
        warn!(
            file = %attempt.source.path.display(), reason,
            "the provisioning credentials are not used until the next start"
        );
        self.report(&attempt.source, SourceState::PutOff, true, Some(reason.to_owned()));
        self.handled.insert(attempt.source.kind, attempt.stamp.clone());
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
            SourceKind::Credential => {
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
                    error!(%file, %error, "the provisioning file was used but cannot be removed");
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
        self.retire(&Attempt { source, stamp: content.stamp, fingerprint });
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
    fn report(
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

/// Why a file was neither removed nor renamed.
enum NotRemoved {
    /// It was replaced or removed by another program.
    Replaced,
    Failed(io::Error),
}

fn check_unchanged(path: &Path, stamp: &FileStamp) -> Result<(), NotRemoved> {
    match FileStamp::at(path) {
        Ok(now) if now == *stamp => Ok(()),
        Ok(_) => Err(NotRemoved::Replaced),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NotRemoved::Replaced),
        Err(error) => Err(NotRemoved::Failed(error)),
    }
}

fn remove(path: &Path, stamp: &FileStamp) -> Result<(), NotRemoved> {
    check_unchanged(path, stamp)?;
    fs::remove_file(path).map_err(NotRemoved::Failed)?;
    sync_parent(path);
    Ok(())
}

/// Renames the file and writes the reason into another one next to it.
fn rename_rejected(path: &Path, stamp: &FileStamp, reason: &str) -> Result<PathBuf, NotRemoved> {
    check_unchanged(path, stamp)?;
    let renamed = with_suffix(path, ".rejected");
    fs::rename(path, &renamed).map_err(NotRemoved::Failed)?;
    let note = with_suffix(&renamed, ".txt");
    // For someone who takes the card out of the device; the status has the same reason.
    if let Err(error) = write_note(&note, reason) {
        warn!(file = %note.display(), %error, "cannot write the reason next to the rejected file");
    }
    sync_parent(path);
    Ok(renamed)
}

fn write_note(path: &Path, reason: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    writeln!(file, "Rejected: {reason}. The device will not try this file again.")?;
    file.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A file that comes back after a power cut is recognized by the record.
fn sync_parent(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Ok(()) => {}
        // Some file systems do not support it.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        Err(error) => warn!(folder = %folder.display(), %error, "cannot sync the directory"),
    }
}

#[cfg(test)]
mod tests;
