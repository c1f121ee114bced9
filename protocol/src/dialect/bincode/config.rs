//! The settings of bincode.

use crate::limits::Limits;

type Config = bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MAX_CLAIM>,
>;

pub(super) const CONFIG: Config = bincode::config::standard().with_limit::<MAX_CLAIM>();

/// bincode's own limit counts an integer at its full width, not at its encoded size: 17 bytes for the
/// 2 bytes of a small `Int`, 9 for the 2 of an empty text, 8 for the 1 of a sequence number.
const MAX_CLAIM: usize = 9 * Limits::MAX_SIZE;
