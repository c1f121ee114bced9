//! `[sessions]`: how a connected device is kept alive, and how much it may send.

use std::time::Duration;

use fedecks_protocol::{Limits, MAX_HEADER_CHARS};
use serde::Deserialize;

use crate::config::error::{ConfigError, ConfigSources};
use crate::config::values::{MAX_U32, NO_MAX, number, whole_seconds, whole_seconds_or_none};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sessions {
    #[serde(deserialize_with = "whole_seconds")]
    pub(crate) heartbeat: Duration,
    #[serde(deserialize_with = "whole_seconds")]
    pub(crate) idle_timeout: Duration,
    /// For how long an expired token is still accepted; 0 for not at all.
    #[serde(deserialize_with = "whole_seconds_or_none")]
    pub(crate) token_grace: Duration,
    /// The largest message from a device, in bytes.
    #[serde(deserialize_with = "number::<_, _, 1024, MAX_FRAME>")]
    pub(crate) max_frame: u32,
    /// The most that a message from a device may take in memory, in bytes.
    #[serde(deserialize_with = "number::<_, _, 65_536, GIB>")]
    pub(crate) max_decoded: usize,
    /// The same of a message to a device.
    #[serde(deserialize_with = "number::<_, _, 65_536, GIB>")]
    pub(crate) max_decoded_by_device: usize,
    /// The longest authentication header, in characters.
    #[serde(deserialize_with = "number::<_, _, 256, 65_536>")]
    pub(crate) max_header: usize,
    /// The number of messages that a device may send per second; 0 for no limit.
    #[serde(deserialize_with = "number::<_, _, 0, MAX_U32>")]
    pub(crate) messages_per_second: u32,
    /// The number of messages that it may send at once after a quiet time.
    #[serde(deserialize_with = "number::<_, _, 1, MAX_U32>")]
    pub(crate) message_burst: u32,
    /// The number of bytes that a device may send per second; 0 for no limit.
    #[serde(deserialize_with = "number::<_, _, 0, MAX_U32>")]
    pub(crate) bytes_per_second: u32,
    /// The number of bytes that it may send at once after a quiet time.
    #[serde(deserialize_with = "number::<_, _, 1, MAX_U32>")]
    pub(crate) byte_burst: u32,
    /// How many messages may wait for one device, and how many bytes they may have.
    #[serde(deserialize_with = "number::<_, _, 1, MAX_U32>")]
    pub(crate) queue_messages: usize,
    #[serde(deserialize_with = "number::<_, _, 1, MAX_U32>")]
    pub(crate) queue_bytes: usize,
    /// What the messages that arrive from all devices may take, in bytes.
    #[serde(deserialize_with = "number::<_, _, 1, NO_MAX>")]
    pub(crate) received_bytes: usize,
    /// What the messages that wait to be sent to all devices may take, in bytes.
    #[serde(deserialize_with = "number::<_, _, 1, NO_MAX>")]
    pub(crate) queued_bytes: usize,
}

const MAX_FRAME: i64 = Limits::MAX_SIZE as i64;

const GIB: i64 = 1024 * 1024 * 1024;

impl Default for Sessions {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(19),
            idle_timeout: Duration::from_secs(60),
            token_grace: Duration::from_secs(4 * 7 * 24 * 3600),
            max_frame: 1024 * 1024,
            max_decoded: Limits::CLOUD_DECODED,
            max_decoded_by_device: Limits::DEVICE_DECODED,
            max_header: MAX_HEADER_CHARS,
            messages_per_second: 1000,
            message_burst: 2000,
            bytes_per_second: 4 * 1024 * 1024,
            byte_burst: 8 * 1024 * 1024,
            queue_messages: 256,
            queue_bytes: 1024 * 1024,
            received_bytes: 64 * 1024 * 1024,
            queued_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Sessions {
    pub(crate) fn check(&self, sources: &ConfigSources) -> Result<(), ConfigError> {
        sources.require_longer(
            ("sessions.idle_timeout", self.idle_timeout),
            ("sessions.heartbeat", self.heartbeat),
        )?;
        for (key, bytes) in [
            ("sessions.received_bytes", self.received_bytes),
            ("sessions.queued_bytes", self.queued_bytes),
        ] {
            if bytes / 4 < self.max_frame as usize {
                return Err(sources.conflict(
                    (key, bytes),
                    "at least four times",
                    ("sessions.max_frame", self.max_frame),
                ));
            }
        }
        Ok(())
    }
}
