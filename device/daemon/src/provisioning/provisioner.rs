//! The disk's side of provisioning. Every call blocks on the disk.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fedecks_device::storage::{StoreError, TokenStore};
use fedecks_protocol::{Credentials, DeviceId};
use nix::libc;
use ring::digest;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::record::{Entry, Fingerprint, Record, RecordFile, Verdict};
use super::source::{Content, Sight, Source, Stamp};
use super::status::{ProvisioningReport, SourceKind, SourceReport, SourceState};
use crate::config::DeviceConfig;
use crate::hex;

/// The sources of credentials, what became of them, and what is told of that.
pub(crate) struct Provisioner {
    device: DeviceId,
    sources: Vec<Source>,
    record: RecordFile,
    tokens: TokenStore,
    /// What was judged since the start: it is not looked at again.
    judged: BTreeMap<SourceKind, Stamp>,
    report: watch::Sender<ProvisioningReport>,
}

/// What there is to do.
pub(super) enum Look {
    Nothing,
    LogIn(Claim, Credentials),
    /// It is not known what was used before.
    NoRecord(StoreError),
}

/// Credentials that are being used, but for themselves.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    source: Source,
    stamp: Stamp,
    fingerprint: Fingerprint,
}

impl Provisioner {
    /// The file comes first: somebody has put it there later than whoever made the image put the
    /// credential there.
    pub(crate) fn new(config: &DeviceConfig, device: DeviceId) -> Self {
        let file = Source { kind: SourceKind::File, path: config.provision_file.clone() };
        let credential = config.provision_credential.clone();
        let credential = credential.map(|path| Source { kind: SourceKind::Credential, path });
        let sources: Vec<_> = std::iter::once(file).chain(credential).collect();
        let absent = |source: &Source| SourceReport {
            kind: source.kind,
            place: source.path.clone(),
            state: SourceState::Absent,
            is_there: false,
            reason: None,
        };
        let report = ProvisioningReport { sources: sources.iter().map(absent).collect() };
        Self {
            sources,
            record: RecordFile::new(&config.data_dir),
            tokens: TokenStore::new(&config.data_dir, device.clone()),
            device,
            judged: BTreeMap::new(),
            report: watch::Sender::new(report),
        }
    }

    /// What is known of the sources, as it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<ProvisioningReport> {
        self.report.subscribe()
    }

    /// Looks for credentials that were not used yet. Whatever else there is, is cleared away as far
    /// as that is possible. With `anyhow`, also where it is not known what was used before.
    pub(super) fn look(&mut self, anyhow: bool) -> Look {
        let record = match self.record.read() {
            Ok(record) => record,
            Err(_) if anyhow => Record::default(),
            Err(error) => {
                let sources = self.sources.clone();
                let is_there = sources.iter().any(|source| self.unjudged(source).is_some());
                return if is_there { Look::NoRecord(error) } else { Look::Nothing };
            }
        };
        for source in self.sources.clone() {
            let Some(content) = self.unjudged(&source) else { continue };
            let known = record.find(source.kind, &self.of_this_device(&content));
            let fingerprint = known.map(|entry| entry.content.clone());
            let fingerprint =
                fingerprint.unwrap_or_else(|| Fingerprint::new(&self.of_this_device(&content)));
            let claim = Claim { source, stamp: content.stamp, fingerprint };
            match known.map(|entry| &entry.verdict) {
                Some(Verdict::Used) => self.used(&claim),
                Some(Verdict::Rejected(reason)) => self.rejected(&claim, reason),
                // The power went after the token was on disk.
                Some(Verdict::Tried { before }) if self.has_other_token(before.as_deref()) => {
                    self.used(&claim);
                }
                Some(Verdict::Tried { .. }) | None => {
                    let (file, source) = (claim.source.path.display(), claim.source.kind.name());
                    info!(%file, source, "logging in with the credentials of provisioning");
                    if content.is_open_to_all {
                        warn!(
                            %file,
                            "everybody on this device can read the credentials: the file system knows no \
                             permissions"
                        );
                    }
                    self.tell(&claim.source, SourceState::LoggingIn, true, None);
                    return Look::LogIn(claim, content.credentials);
                }
            }
        }
        Look::Nothing
    }

    /// To be called before the credentials leave this device.
    pub(super) fn begin(&mut self, claim: &Claim) {
        let before = self.token();
        self.put(claim, Verdict::Tried { before });
    }

    /// The login that began is over and has brought nothing.
    pub(super) fn nothing_came(&mut self, claim: &Claim) {
        self.clear(claim.source.kind);
    }

    /// The login has succeeded, but the token is not on disk.
    pub(super) fn unstored(&mut self, claim: &Claim) {
        warn!(
            file = %claim.source.path.display(),
            "the credentials of provisioning stay until the token is on disk"
        );
        self.tell(&claim.source, SourceState::Unstored, true, None);
    }

    /// The login has succeeded and the token is on disk.
    pub(super) fn used(&mut self, claim: &Claim) {
        self.dispose(claim);
        let behind = self.sources.iter().skip_while(|source| source.kind != claim.source.kind);
        for source in behind.skip(1).cloned().collect::<Vec<_>>() {
            self.pass_over(source);
        }
    }

    /// The cloud does not accept the credentials.
    pub(super) fn rejected(&mut self, claim: &Claim, reason: &str) {
        let Source { kind, path } = &claim.source;
        let file = path.display();
        match kind {
            SourceKind::Credential => {
                error!(%file, reason, "the credentials of provisioning were rejected");
                self.put(claim, Verdict::Rejected(reason.to_owned()));
                self.tell(&claim.source, SourceState::Rejected, true, Some(reason.to_owned()));
            }
            SourceKind::File => match set_aside(path, &claim.stamp, reason) {
                Ok(aside) => {
                    let aside = aside.display();
                    error!(%file, reason, %aside, "the provisioning file was rejected and set aside");
                    self.clear(*kind);
                    let reason = format!("{reason}; set aside as {aside}");
                    self.tell(&claim.source, SourceState::Rejected, false, Some(reason));
                }
                // What is there now was not judged.
                Err(Left::Another) => return,
                Err(Left::There(error)) => {
                    error!(%file, reason, %error, "the provisioning file was rejected and cannot be set aside");
                    self.put(claim, Verdict::Rejected(reason.to_owned()));
                    let reason = format!("{reason}; cannot be set aside: {error}");
                    self.tell(&claim.source, SourceState::Rejected, true, Some(reason));
                }
            },
        }
        self.judged.insert(*kind, claim.stamp.clone());
    }

    /// Something else came first.
    pub(super) fn put_off(&mut self, claim: &Claim, reason: &str) {
        warn!(
            file = %claim.source.path.display(), reason,
            "the credentials of provisioning are not used before the next start"
        );
        self.tell(&claim.source, SourceState::PutOff, true, Some(reason.to_owned()));
        self.judged.insert(claim.source.kind, claim.stamp.clone());
    }

    /// What the source holds, unless nothing is to be done about it.
    fn unjudged(&mut self, source: &Source) -> Option<Content> {
        let judged = self.judged.get(&source.kind);
        if judged.is_some() && judged == Stamp::at(&source.path).ok().as_ref() {
            return None;
        }
        match source.look() {
            Sight::Content(content) => Some(content),
            Sight::Nothing => {
                self.gone(source);
                None
            }
            Sight::Unusable(problem) => {
                if self.tell(source, SourceState::Unusable, true, Some(problem.clone())) {
                    let file = source.path.display();
                    error!(%file, problem, "the credentials of provisioning were not used");
                }
                None
            }
        }
    }

    fn dispose(&mut self, claim: &Claim) {
        let Source { kind, path } = &claim.source;
        let file = path.display();
        match kind {
            SourceKind::Credential => {
                info!(%file, "the credential is used");
                self.put(claim, Verdict::Used);
                self.tell(&claim.source, SourceState::Used, true, None);
            }
            SourceKind::File => match remove(path, &claim.stamp) {
                Ok(()) => {
                    info!(%file, "the provisioning file was used and removed");
                    self.clear(*kind);
                    self.tell(&claim.source, SourceState::Used, false, None);
                }
                // What is there now was not used.
                Err(Left::Another) => return,
                Err(Left::There(error)) => {
                    error!(%file, %error, "the provisioning file was used but is still there");
                    self.put(claim, Verdict::Used);
                    let reason = format!("cannot be removed: {error}");
                    self.tell(&claim.source, SourceState::Used, true, Some(reason));
                }
            },
        }
        self.judged.insert(*kind, claim.stamp.clone());
    }

    /// A token came by a source before this one, so this one is not needed.
    fn pass_over(&mut self, source: Source) {
        let Some(content) = self.unjudged(&source) else { return };
        let record = self.record.read().unwrap_or_default();
        let known = record.find(source.kind, &self.of_this_device(&content));
        if known.is_some_and(|entry| entry.verdict == Verdict::Used) {
            return;
        }
        let fingerprint = Fingerprint::new(&self.of_this_device(&content));
        self.dispose(&Claim { source, stamp: content.stamp, fingerprint });
    }

    /// What the record is about. Another device, on a copy of the data directory or by another id in
    /// the configuration, has not used the same credentials yet: its token is another one, too.
    fn of_this_device(&self, content: &Content) -> Vec<u8> {
        [self.device.as_str().as_bytes(), b"\n", &content.bytes].concat()
    }

    fn has_other_token(&self, before: Option<&str>) -> bool {
        self.token().is_some_and(|token| Some(token.as_str()) != before)
    }

    /// The token on disk, by its hash: nobody guesses a token.
    fn token(&self) -> Option<String> {
        let issued = self.tokens.load().ok()??;
        let hash = digest::digest(&digest::SHA256, issued.token.expose().as_bytes());
        hash.as_ref().get(..16).map(hex::encode)
    }

    fn put(&self, claim: &Claim, verdict: Verdict) {
        let content = claim.fingerprint.clone();
        let entry = Entry { kind: claim.source.kind, content, verdict };
        if let Err(error) = self.record.put(entry) {
            warn!(%error, "what became of the credentials of provisioning is not on disk");
        }
    }

    fn clear(&self, kind: SourceKind) {
        if let Err(error) = self.record.clear(kind) {
            warn!(%error, "what became of the credentials of provisioning is still on disk");
        }
    }

    /// What was used or set aside is still told of; anything else is as if it had never been there.
    fn gone(&mut self, source: &Source) {
        self.judged.remove(&source.kind);
        self.report.send_if_modified(|report| {
            let mut changed = false;
            for known in report.sources.iter_mut().filter(|known| known.kind == source.kind) {
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

    /// Whether that is news.
    fn tell(
        &self,
        source: &Source,
        state: SourceState,
        is_there: bool,
        reason: Option<String>,
    ) -> bool {
        let place = source.path.clone();
        let now = SourceReport { kind: source.kind, place, state, is_there, reason };
        self.report.send_if_modified(|report| {
            let known = report.sources.iter_mut().find(|known| known.kind == source.kind);
            known.is_some_and(|known| {
                let is_news = *known != now;
                *known = now;
                is_news
            })
        })
    }
}

/// Why a file is still where it was.
enum Left {
    /// It is another one by now, or somebody else took it away.
    Another,
    There(io::Error),
}

fn still(path: &Path, stamp: &Stamp) -> Result<(), Left> {
    match Stamp::at(path) {
        Ok(now) if now == *stamp => Ok(()),
        Ok(_) => Err(Left::Another),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Left::Another),
        Err(error) => Err(Left::There(error)),
    }
}

fn remove(path: &Path, stamp: &Stamp) -> Result<(), Left> {
    still(path, stamp)?;
    fs::remove_file(path).map_err(Left::There)?;
    sync_folder_of(path);
    Ok(())
}

/// Renames the file and says why in another one beside it.
fn set_aside(path: &Path, stamp: &Stamp, reason: &str) -> Result<PathBuf, Left> {
    still(path, stamp)?;
    let aside = with_suffix(path, ".rejected");
    fs::rename(path, &aside).map_err(Left::There)?;
    let note = with_suffix(&aside, ".txt");
    // It is there for whoever takes the card out of the device; the status says the same.
    if let Err(error) = write_note(&note, reason) {
        warn!(file = %note.display(), %error, "the reason is not beside the rejected file");
    }
    sync_folder_of(path);
    Ok(aside)
}

fn write_note(path: &Path, reason: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    writeln!(file, "Not accepted: {reason}. The device does not try this file again.")?;
    file.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The name is gone already; what may come back after a power cut is told apart by the record.
fn sync_folder_of(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Ok(()) => {}
        // There are file systems that cannot do it and need not.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        Err(error) => warn!(folder = %folder.display(), %error, "not synced"),
    }
}

#[cfg(test)]
mod tests;
