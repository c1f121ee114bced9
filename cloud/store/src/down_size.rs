//! How many kept messages wait for devices, and how many may.

/// How much may wait. Bytes are those of [`NewDown::stored_bytes`](crate::NewDown::stored_bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct DownLimits {
    /// The number of messages of a device.
    pub messages: u64,
    /// The bytes of a device.
    pub bytes: u64,
    /// The bytes of all devices.
    pub total_bytes: u64,
}

impl Default for DownLimits {
    /// 1,000 messages and 1 MiB for a device, 512 MiB in all.
    fn default() -> Self {
        Self { messages: 1000, bytes: 1024 * 1024, total_bytes: 512 * 1024 * 1024 }
    }
}

/// How much waits. Bytes are those of [`NewDown::stored_bytes`](crate::NewDown::stored_bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct DownSize {
    /// The number of messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}
