//! Whose messages are in the queue, in a small file that is replaced at once.

use std::io;

use fedecks_common::crc32;
use fedecks_protocol::InstallationId;

use crate::directory::Directory;
use crate::record::array;

const NAME: &str = "owner";
const NEW: &str = "owner.new";
const MAGIC: &[u8; 8] = b"fedecksO";

/// Whose messages are in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The device.
    pub device: String,
    /// The installation that they are for, if it is known.
    pub installation: Option<InstallationId>,
}

impl Owner {
    /// The longest id of a device, in bytes.
    pub const MAX_DEVICE: usize = 1024;

    /// Reads the file; `None` if it was never written, or is damaged.
    pub fn load(directory: &mut impl Directory) -> io::Result<Option<Self>> {
        match directory.read_at(NAME, 0, MAGIC.len() + 17 + Self::MAX_DEVICE + 4) {
            Ok(bytes) => Ok(decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file. After an error or a power cut the file has either content.
    pub fn store(&self, directory: &mut impl Directory) -> io::Result<()> {
        directory.create(NEW)?;
        directory.write_at(NEW, 0, &self.encode())?;
        directory.sync(NEW)?;
        directory.rename(NEW, NAME)?;
        directory.sync_names()
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(u8::from(self.installation.is_some()));
        bytes.extend(self.installation.unwrap_or(InstallationId([0; 16])).0);
        bytes.extend(self.device.as_bytes());
        bytes.extend(crc32(&bytes).to_le_bytes());
        bytes
    }
}

fn decode(bytes: &[u8]) -> Option<Owner> {
    let (content, sum) = bytes.split_at(bytes.len().checked_sub(4)?);
    let rest = content.strip_prefix(MAGIC)?;
    if sum != crc32(content).to_le_bytes() {
        return None;
    }
    let is_known = *rest.first()? == 1;
    let installation = InstallationId(array(rest, 1)?);
    let device = String::from_utf8(rest.get(17..)?.to_vec()).ok()?;
    Some(Owner { device, installation: is_known.then_some(installation) })
}
