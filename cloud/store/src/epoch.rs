//! Whether what was cached of a store is still valid.

/// A store that an older copy may replace while it is open.
pub trait Epoch: Send + Sync + 'static {
    /// Rises whenever an older copy may have replaced the store, as after a restore. Then everything
    /// cached from it has to be read again.
    fn epoch(&self) -> u64;
}
