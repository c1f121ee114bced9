//! Who this device is, where the configuration does not say: asked of the hardware and the system,
//! in a fixed order, and remembered in the data directory so that it is the same after each boot.

mod id_source;
mod memory;
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
use memory::Derived;
pub(crate) use memory::Memory;
use sources::{Found, Roots};

/// Who the device is, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceIdentity {
    /// Who it is.
    pub(crate) id: DeviceId,
    /// Which source said so; none where the configuration did.
    pub(crate) source: Option<IdSource>,
}

impl DeviceIdentity {
    /// The source's name, or `configuration`.
    pub(crate) fn source_name(&self) -> &'static str {
        self.source.map_or("configuration", IdSource::name)
    }
}

/// No source says who the device is.
#[derive(Debug, thiserror::Error)]
#[error("nothing says who this device is ({0}); set device_id")]
pub struct NoIdentity(String);

/// What became of an identity that was still to be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    /// It is remembered from now on.
    Yes,
    /// Another one is remembered already: the directory could not be read at the start.
    Another(DeviceId),
}

/// How long the start waits for a data directory on a disk that does not answer.
const DISK_PATIENCE: Duration = Duration::from_secs(5);

/// Finds out who the device is. What is remembered counts; where nothing is, the first source that
/// says something is, or only `pinned`. Gives what is still to be remembered, if it could not be yet.
pub(crate) fn find_in_time(
    pinned: Option<IdSource>,
    memory: Memory,
) -> Result<(DeviceIdentity, Option<Unsaved>), NoIdentity> {
    let (answer, answered) = mpsc::channel();
    let remembers = memory.clone();
    thread::spawn(move || {
        // Nobody waits for it any more if it took too long.
        let _ = answer.send(find(&Roots::system(), pinned, &remembers));
    });
    answered
        .recv_timeout(DISK_PATIENCE)
        .unwrap_or_else(|_| find_without_memory(&Roots::system(), pinned, memory))
}

/// The same without writing anything.
pub(crate) fn peek(
    pinned: Option<IdSource>,
    memory: &Memory,
) -> Result<DeviceIdentity, NoIdentity> {
    let remembered = memory.read().unwrap_or_default();
    Ok(derive(&Roots::system(), pinned, remembered.as_ref())?.identity())
}

/// As [`find_in_time`], without a deadline.
fn find(
    roots: &Roots,
    pinned: Option<IdSource>,
    memory: &Memory,
) -> Result<(DeviceIdentity, Option<Unsaved>), NoIdentity> {
    let read = memory.read();
    if let Err(error) = &read {
        debug!(%error, "which device this is was not remembered");
    }
    let remembered = read.as_ref().ok().and_then(Option::as_ref);
    let derived = derive(roots, pinned, remembered)?;
    let identity = derived.identity();
    if remembered == Some(&derived) {
        return Ok((identity, None));
    }
    // Where it could not be read it may hold another one, which is not to be written over.
    let saved = read.and_then(|_| memory.write(&derived));
    let unsaved = Unsaved { derived, pinned, memory: memory.clone() };
    Ok((identity, saved.is_err().then_some(unsaved)))
}

/// As [`find`], if the data directory cannot be read: nothing is remembered, nothing saved yet.
fn find_without_memory(
    roots: &Roots,
    pinned: Option<IdSource>,
    memory: Memory,
) -> Result<(DeviceIdentity, Option<Unsaved>), NoIdentity> {
    let derived = derive(roots, pinned, None)?;
    Ok((derived.identity(), Some(Unsaved { derived, pinned, memory })))
}

fn derive(
    roots: &Roots,
    pinned: Option<IdSource>,
    remembered: Option<&Derived>,
) -> Result<Derived, NoIdentity> {
    choose(remembered, pinned, |source, part| roots.read(source, part))
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
    memory: Memory,
}

impl Unsaved {
    /// Remembers it as soon as the data directory is there. Returns what is remembered already, if
    /// that is another device; otherwise never.
    pub(crate) async fn remember(mut self) -> DeviceId {
        let mut wait = Backoff::default();
        loop {
            sleep(wait.next_delay()).await;
            let saved;
            (self, saved) = blocking(move || {
                let saved = self.save();
                (self, saved)
            })
            .await;
            match saved {
                Ok(Kept::Yes) => return pending().await,
                Ok(Kept::Another(device)) => return device,
                Err(error) => debug!(%error, "which device this is cannot be remembered yet"),
            }
        }
    }

    /// Tries to remember it; to be called again after an error.
    fn save(&self) -> Result<Kept, StoreError> {
        if let Some(remembered) = self.memory.read()? {
            if remembered == self.derived {
                return Ok(Kept::Yes);
            }
            let known = Some(&remembered);
            let said = (self.derived.source, &self.derived.found);
            let read = |source, _: Option<&str>| match said {
                (derived, found) if derived == source => Ok(found.clone()),
                _ => Err("is not asked again".to_owned()),
            };
            if let Ok(chosen) = choose(known, self.pinned, read) {
                if chosen.found.id != self.derived.found.id {
                    return Ok(Kept::Another(chosen.found.id));
                }
            }
        }
        self.memory.write(&self.derived).map(|()| Kept::Yes)
    }
}

/// Hardware is believed as it is now, so that a copy of the data on another board has another
/// identity; while it says nothing, as when a driver comes up late, what it said before holds. Of
/// everything else, what it said first holds.
fn choose(
    remembered: Option<&Derived>,
    pinned: Option<IdSource>,
    read: impl Fn(IdSource, Option<&str>) -> Result<Found, String>,
) -> Result<Derived, NoIdentity> {
    let remembered = remembered.filter(|known| pinned.is_none_or(|source| source == known.source));
    if let Some(known) = remembered {
        if known.source.is_hardware() {
            match read(known.source, known.found.part.as_deref()) {
                Ok(found) => return Ok(Derived { source: known.source, found }),
                Err(reason) => warn!(
                    source = %known.source, reason,
                    "who this device is cannot be read, what is remembered holds"
                ),
            }
        }
        return Ok(known.clone());
    }
    let mut reasons = Vec::new();
    for source in IdSource::ORDER {
        if pinned.is_some_and(|pinned| pinned != source) {
            continue;
        }
        match read(source, None) {
            Ok(found) => return Ok(Derived { source, found }),
            Err(reason) => reasons.push(format!("{source}: {reason}")),
        }
    }
    Err(NoIdentity(reasons.join("; ")))
}

#[cfg(test)]
mod tests;
