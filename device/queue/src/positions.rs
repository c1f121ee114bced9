//! The positions of the receiving side, in a small file that is replaced at once.

use std::io;

use fedecks_common::crc32;
use fedecks_protocol::{Lane, StreamId, Tag};
use thiserror::Error;

use crate::directory::Directory;
use crate::record::{array, number};

const NAME: &str = "positions";
const NEW: &str = "positions.new";
const MAGIC: &[u8; 8] = b"fedecksP";
const ENTRY: usize = 33;

/// How far a receiver is in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The stream.
    pub stream: StreamId,
    /// Its lane.
    pub lane: Lane,
    /// The last number that the receiver is done with.
    pub up_to: u64,
    /// The tag of that message.
    pub tag: Tag,
}

/// The positions of a receiver, at most [`MAX`](Self::MAX).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Positions(pub Vec<Position>);

/// Why positions could not be read or written.
#[derive(Debug, Error)]
pub enum PositionsError {
    /// The disk refuses.
    #[error("cannot access the file of positions: {0}")]
    Io(#[from] io::Error),
    /// The file differs from its checksum.
    #[error("the file of positions is damaged")]
    Damaged,
    /// There are too many to store.
    #[error("{0} positions are more than a receiver has")]
    TooMany(usize),
}

impl Positions {
    /// The most positions of a file.
    pub const MAX: usize = 16;

    /// Reads the file; none if it was never written.
    pub fn load(directory: &mut impl Directory) -> Result<Self, PositionsError> {
        match directory.read_at(NAME, 0, 2 * (MAGIC.len() + Self::MAX * ENTRY)) {
            Ok(bytes) => decode(&bytes).ok_or(PositionsError::Damaged),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the file. After an error or a power cut the file has either content.
    pub fn store(&self, directory: &mut impl Directory) -> Result<(), PositionsError> {
        if self.0.len() > Self::MAX {
            return Err(PositionsError::TooMany(self.0.len()));
        }
        directory.create(NEW)?;
        directory.write_at(NEW, 0, &self.encode())?;
        directory.sync(NEW)?;
        directory.rename(NEW, NAME)?;
        Ok(directory.sync_names()?)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for position in &self.0 {
            bytes.extend(position.stream.0);
            bytes.push(position.lane.number() as u8);
            bytes.extend(position.up_to.to_le_bytes());
            bytes.extend(position.tag.0.to_le_bytes());
        }
        bytes.extend(crc32(&bytes).to_le_bytes());
        bytes
    }
}

fn decode(bytes: &[u8]) -> Option<Positions> {
    let (content, sum) = bytes.split_at(bytes.len().checked_sub(4)?);
    let entries = content.strip_prefix(MAGIC)?;
    if sum != crc32(content).to_le_bytes()
        || entries.len() % ENTRY != 0
        || entries.len() > Positions::MAX * ENTRY
    {
        return None;
    }
    let entry = |entry: &[u8]| {
        Some(Position {
            stream: StreamId(array(entry, 0)?),
            lane: Lane::from_number(u64::from(*entry.get(16)?))?,
            up_to: number(entry, 17)?,
            tag: Tag(number(entry, 25)?),
        })
    };
    entries.chunks(ENTRY).map(entry).collect::<Option<_>>().map(Positions)
}
