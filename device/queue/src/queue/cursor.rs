//! The place at which a reader of windows is.

/// Where the last window ended, so that the next one does not read its segment from the beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    pub(super) order: u64,
    pub(super) after: u64,
    pub(super) offset: usize,
}
