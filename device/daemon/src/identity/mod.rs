//! The device's id if the configuration does not set it: derived from the hardware or the system, in a fixed
//! order, and kept in the data directory so that it is the same after each boot.

mod id_source;
mod identity_file;
mod sources;

use std::future::pending;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fedecks_common::Backoff;
use fedecks_device::storage::StoreError;
use fedecks_protocol::DeviceId;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::blocking::blocking;
pub use id_source::IdSource;
use identity_file::Derived;
pub(crate) use identity_file::IdentityFile;
use sources::{Found, SystemPaths};

/// The device's id and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceIdentity {
    pub(crate) id: DeviceId,
    /// The source of the id; none if the configuration sets it.
    pub(crate) source: Option<IdSource>,
}

impl DeviceIdentity {
    /// The source's name, or `configuration`.
    pub(crate) fn source_name(&self) -> &'static str {
        self.source.map_or("configuration", IdSource::name)
    }
}

/// No source has a usable id.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot determine the device id ({0}); set device_id, or device_id_from = \"hostname\" if each board has \
     its own host name"
)]
pub struct NoIdentity(String);

/// The result of saving an identity that could not be saved at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Saved {
    Yes,
    /// The file has the id of another device: the directory could not be read at the start.
    Conflict(DeviceId),
}

/// How long the start waits for a data directory on a disk that does not respond.
const DISK_TIMEOUT: Duration = Duration::from_secs(5);

/// Determines the device's id: the saved one, or else that of the first usable source, or of `pinned` alone.
/// Also returns the identity to save later, if it could not be saved yet.
pub(crate) fn find_in_time(
    pinned: Option<IdSource>,
    file: IdentityFile,
) -> Result<(DeviceIdentity, Option<Unsaved>), NoIdentity> {
    let (answer, answered) = mpsc::channel();
    let on_disk = file.clone();
    thread::spawn(move || {
        // The receiver is gone if this took too long.
        let _ = answer.send(find(&SystemPaths::system(), pinned, &on_disk));
    });
    answered.recv_timeout(DISK_TIMEOUT).unwrap_or_else(|_| {
        let derived = derive(&SystemPaths::system(), pinned, None)?;
        Ok((derived.identity(), Some(Unsaved { derived, pinned, file })))
    })
}

/// Determines the device's id without writing anything.
pub(crate) fn peek(
    pinned: Option<IdSource>,
    file: &IdentityFile,
) -> Result<DeviceIdentity, NoIdentity> {
    let saved = file.read().unwrap_or_default();
    Ok(derive(&SystemPaths::system(), pinned, saved.as_ref())?.identity())
}

/// Like [`find_in_time`], without a timeout.
fn find(
    paths: &SystemPaths,
    pinned: Option<IdSource>,
    file: &IdentityFile,
) -> Result<(DeviceIdentity, Option<Unsaved>), NoIdentity> {
    let read = file.read();
    if let Err(error) = &read {
        debug!(%error, "cannot read the saved device id");
    }
    let saved = read.as_ref().ok().and_then(Option::as_ref);
    let derived = derive(paths, pinned, saved)?;
    let identity = derived.identity();
    if saved == Some(&derived) {
        return Ok((identity, None));
    }
    // A file that could not be read may have another id, which must not be overwritten.
    let written = read.and_then(|_| file.write(&derived));
    let unsaved = Unsaved { derived, pinned, file: file.clone() };
    Ok((identity, written.is_err().then_some(unsaved)))
}

fn derive(
    paths: &SystemPaths,
    pinned: Option<IdSource>,
    saved: Option<&Derived>,
) -> Result<Derived, NoIdentity> {
    choose(saved, pinned, |source, part| paths.read(source, part))
}

impl Derived {
    fn identity(&self) -> DeviceIdentity {
        DeviceIdentity { id: self.found.id.clone(), source: Some(self.source) }
    }
}

/// An identity that is not in the data directory yet.
#[derive(Debug, Clone)]
pub(crate) struct Unsaved {
    derived: Derived,
    pinned: Option<IdSource>,
    file: IdentityFile,
}

impl Unsaved {
    /// Saves the identity as soon as the data directory is available. Returns only if the file turns out to
    /// have the id of another device, with that id.
    pub(crate) async fn save_when_possible(mut self) -> DeviceId {
        let mut backoff = Backoff::default();
        loop {
            sleep(backoff.next_delay()).await;
            let saved;
            (self, saved) = blocking(move || {
                let saved = self.save();
                (self, saved)
            })
            .await;
            match saved {
                Ok(Saved::Yes) => return pending().await,
                Ok(Saved::Conflict(device)) => return device,
                Err(error) => debug!(%error, "cannot save the device id yet"),
            }
        }
    }

    /// Tries to save the identity; to be repeated after an error.
    fn save(&self) -> Result<Saved, StoreError> {
        if let Some(saved) = self.file.read()? {
            if saved == self.derived {
                return Ok(Saved::Yes);
            }
            let derived = (self.derived.source, &self.derived.found);
            let read = |source, _: Option<&str>| match derived {
                (known, found) if known == source => Ok(found.clone()),
                _ => Err("is not read again".to_owned()),
            };
            if let Ok(chosen) = choose(Some(&saved), self.pinned, read) {
                if chosen.found.id != self.derived.found.id {
                    return Ok(Saved::Conflict(chosen.found.id));
                }
            }
        }
        self.file.write(&self.derived).map(|()| Saved::Yes)
    }
}

/// Hardware is read again each time, so that a copy of the data on another board gets another id; while it
/// cannot be read, for example because a driver loads late, the saved id is used. The id of any other source
/// never changes once it is saved.
fn choose(
    saved: Option<&Derived>,
    pinned: Option<IdSource>,
    read: impl Fn(IdSource, Option<&str>) -> Result<Found, String>,
) -> Result<Derived, NoIdentity> {
    if let Some(known) = saved.filter(|it| pinned.is_none_or(|source| source == it.source)) {
        if known.source.is_hardware() {
            match read(known.source, known.found.part.as_deref()) {
                Ok(found) => return Ok(Derived { source: known.source, found }),
                Err(reason) => warn!(
                    source = %known.source, reason,
                    "cannot read the device id from its source, using the saved one"
                ),
            }
        }
        return Ok(known.clone());
    }
    let mut reasons = Vec::new();
    let pinned = pinned.as_ref().map(std::slice::from_ref);
    for source in pinned.unwrap_or(&IdSource::AUTOMATIC).iter().copied() {
        match read(source, None) {
            Ok(found) => return Ok(Derived { source, found }),
            Err(reason) => reasons.push(format!("{source}: {reason}")),
        }
    }
    Err(NoIdentity(reasons.join("; ")))
}

#[cfg(test)]
mod tests;
