//! How much waits with a sender.

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Waiting {
    /// The number of messages in memory.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Waiting {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(crate) fn remove(&mut self, bytes: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What of a stream is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first number that is not acknowledged.
    pub first: u64,
    /// The number behind the last entry in memory.
    pub end: u64,
    /// The last number that was given out.
    pub newest: u64,
    /// The messages in memory.
    pub waiting: Waiting,
}

impl Window {
    /// How many numbers are not in memory.
    pub fn unloaded(&self) -> u64 {
        self.newest.saturating_add(1).saturating_sub(self.end)
    }
}
