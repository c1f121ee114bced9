//! Who this device is, where the configuration does not say: asked of the hardware and the system,
//! in a fixed order, and remembered in the data directory so that it is the same after each boot.

mod id_source;
mod sources;

use std::path::Path;

use fedecks_device::storage::{AtomicFile, StoreError};
use fedecks_protocol::DeviceId;
use tracing::{debug, warn};

pub use id_source::IdSource;
use sources::Found;
pub(crate) use sources::Roots;

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

/// What was found and where, as it is kept in the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Derived {
    source: IdSource,
    found: Found,
}

/// The file `identity` in the data directory. Every call blocks on the disk.
#[derive(Debug, Clone)]
pub(crate) struct Memory(AtomicFile);

/// What became of an identity that was still to be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is remembered from now on.
    Yes,
    /// Another one is remembered already: the directory could not be read at the start.
    Another(DeviceId),
}

/// Finds out who the device is. What is remembered counts; where nothing is, the first source that
/// says something is, or only `pinned`. Gives what is still to be remembered, if it could not be yet.
pub(crate) fn find(
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

/// The same without writing anything.
pub(crate) fn peek(
    roots: &Roots,
    pinned: Option<IdSource>,
    memory: &Memory,
) -> Result<DeviceIdentity, NoIdentity> {
    let remembered = memory.read().unwrap_or_default();
    Ok(derive(roots, pinned, remembered.as_ref())?.identity())
}

/// The same while nothing is known of the data directory, a disk that does not answer say.
pub(crate) fn find_without_memory(
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
    /// Tries to remember it; to be called again after an error.
    pub(crate) fn save(&self) -> Result<Kept, StoreError> {
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

impl Memory {
    pub(crate) fn new(directory: &Path) -> Self {
        Self(AtomicFile::new(directory, "identity"))
    }

    fn read(&self) -> Result<Option<Derived>, StoreError> {
        self.0.read(parse)
    }

    fn write(&self, Derived { source, found }: &Derived) -> Result<(), StoreError> {
        let part = found.part.as_ref().map_or_else(String::new, |part| format!("part {part}\n"));
        self.0.write(&format!("source {source}\nid {}\n{part}", found.id))
    }
}

fn parse(body: &str) -> Option<Derived> {
    let mut lines = body.lines();
    let source = lines.next()?.strip_prefix("source ")?;
    let source = IdSource::ORDER.into_iter().find(|known| known.name() == source)?;
    let id = DeviceId::new(lines.next()?.strip_prefix("id ")?).ok()?;
    let part = match lines.next() {
        Some(line) => Some(line.strip_prefix("part ")?.to_owned()),
        None => None,
    };
    lines.next().is_none().then_some(Derived { source, found: Found { id, part } })
}

#[cfg(test)]
mod tests;
