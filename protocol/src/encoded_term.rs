//! A term that has been checked and waits encoded, since it would take much more memory decoded.

use std::fmt;

use crate::limits::{DecodeError, Limits};
use crate::term::Term;

/// A valid term, encoded. `Debug` shows only its size.
#[derive(Clone)]
pub struct EncodedTerm {
    bytes: Box<[u8]>,
    weight: usize,
    decode: Decode,
}

/// Decodes a term in the dialect in which it is encoded.
type Decode = fn(&[u8], &Limits) -> Result<Term, DecodeError>;

impl EncodedTerm {
    pub(crate) fn new(bytes: &[u8], weight: usize, decode: Decode) -> Self {
        Self { bytes: bytes.into(), weight, decode }
    }

    /// Decodes the term.
    pub fn decode(&self) -> Result<Term, DecodeError> {
        let limits = Limits {
            max_size: Limits::MAX_SIZE,
            max_depth: Limits::MAX_DEPTH,
            max_decoded: self.weight,
        };
        (self.decode)(&self.bytes, &limits)
    }

    /// Its bytes, encoded.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its size, encoded, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// What the term will weigh, see [`Term::weight`].
    pub fn weight(&self) -> usize {
        self.weight
    }
}

impl PartialEq for EncodedTerm {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for EncodedTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedTerm({} bytes)", self.bytes.len())
    }
}
