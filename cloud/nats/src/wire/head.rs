//! How each message begins, and the terms in messages.

use fedecks_cloud::Term;
use fedecks_protocol::{Dialect, EncodeError, Limits};

use super::bytes::{Reader, Writer};

/// Increased whenever an older version would misunderstand something.
const VERSION: u8 = 1;

/// Of terms between nodes. Each node checks its own limits for its devices as well.
const LIMITS: Limits =
    Limits { max_size: Limits::MAX_SIZE, max_depth: 64, max_decoded: 256 * 1024 * 1024 };

/// A process on the backplane, from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Instance(pub(crate) u64);

pub(super) fn begin(kind: u8, from: Instance) -> Writer {
    let mut writer = Writer(Vec::with_capacity(64));
    writer.u8(VERSION);
    writer.u8(kind);
    writer.u64(from.0);
    writer
}

/// The kind and the sender.
pub(super) fn head<'a>(bytes: &'a [u8]) -> Option<(Reader<'a>, u8, Instance)> {
    let mut reader = Reader(bytes);
    if reader.u8()? != VERSION {
        return None;
    }
    let kind = reader.u8()?;
    let from = Instance(reader.u64()?);
    Some((reader, kind, from))
}

pub(super) fn encode_term(term: &Term) -> Result<Vec<u8>, EncodeError> {
    Dialect::Bincode.encode_term(term, &LIMITS)
}

pub(super) fn decode_term(bytes: &[u8]) -> Option<Term> {
    Dialect::Bincode.decode_term(bytes, &LIMITS).ok()
}
