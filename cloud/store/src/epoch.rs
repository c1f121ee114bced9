//! Whether what was remembered of a store still holds.

/// Tells that the store may have become an older one.
pub trait Epoch: Send + Sync + 'static {
    /// Rises whenever the store may have become an older one, as when a back-up was put in its place:
    /// what was remembered of it has to be read anew.
    fn epoch(&self) -> u64;
}
