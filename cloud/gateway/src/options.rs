//! The options of a cloud: path, lifetimes, limits and queue sizes.

use std::time::Duration;

#[cfg(doc)]
use fedecks_protocol::Term;
use fedecks_protocol::{DEFAULT_PATH, Limits, MAX_HEADER_CHARS};

use crate::build_error::BuildError;

/// The options of a cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Path of the device socket, relative to where the filter is mounted.
    pub path: String,
    /// How long a token is valid. Whole seconds.
    pub token_lifetime: Duration,
    /// How often a connected device gets a new token.
    pub token_refresh: Duration,
    /// For how long an expired token is still accepted, and then replaced at once, from a device that is
    /// neither revoked nor blocked. Whole seconds; 0 for not at all. A device cannot renew its token while
    /// it is switched off, and a cloud whose clock was wrong for a while seals tokens that end too early.
    pub token_grace: Duration,
    /// How long a connection is silent before the device sends a ping. Whole seconds.
    pub heartbeat: Duration,
    /// How long a device is silent before it is disconnected. Whole seconds.
    pub idle_timeout: Duration,
    /// Maximum size of a frame, in either direction, in bytes.
    pub max_frame: u32,
    /// The most that a decoded message from a device may take in memory, in bytes, see [`Term::weight`].
    pub max_decoded: usize,
    /// The same of a message to a device, which devices decode up to their own limit.
    pub max_decoded_by_device: usize,
    /// Maximum length of the authentication header, in characters.
    pub max_header: usize,
    /// How many messages a device may send per second, of any kind, pings included; 0 for no limit. Above
    /// the limit the session pauses reading, so that TCP slows the device down. No message is lost.
    pub messages_per_second: u32,
    /// How many messages a device may send at once after a quiet time, at least one.
    pub message_burst: u32,
    /// How many bytes a device may send per second, of any kind; 0 for no limit. Above the limit the session
    /// pauses reading.
    pub bytes_per_second: u32,
    /// How many bytes a device may send at once after a quiet time, at least one. A message that is longer
    /// passes too, and is then paid back.
    pub byte_burst: u32,
    /// How many bytes the messages that arrive or are handled may take, of all devices together, without the
    /// first 4 KiB of each. Above it the sessions pause reading, and one whose message takes 30 s to arrive
    /// is closed with 1013. At least four times `max_frame`.
    pub received_bytes: usize,
    /// How many bytes may wait to be sent, to all devices together, without the first 4 KiB for each. Above
    /// it a queue counts as full, and a session whose device accepts nothing for 5 s is closed with 1013. At
    /// least four times `max_frame`.
    pub queued_bytes: usize,
    /// How many messages may wait for one device.
    pub queue_messages: usize,
    /// Approximately how many bytes may wait for one device. A single message may be bigger.
    pub queue_bytes: usize,
}

impl Default for Options {
    /// The path `/fedecks/websocket`, tokens valid for 4 weeks and renewed every 3 hours, accepted for
    /// 4 weeks more, a ping after 19 s and disconnection after 60 s of silence, frames up to 1 MiB, which
    /// take up to 16 MiB in memory, or 4 MiB in a device's, a header up to 4,096 characters, no rate limit,
    /// 64 MiB in sum for each direction, queues of 256 messages and 1 MiB.
    fn default() -> Self {
        Self {
            path: DEFAULT_PATH.to_owned(),
            token_lifetime: Duration::from_secs(4 * 7 * 24 * 3600),
            token_refresh: Duration::from_secs(3 * 3600),
            token_grace: Duration::from_secs(4 * 7 * 24 * 3600),
            heartbeat: Duration::from_secs(19),
            idle_timeout: Duration::from_secs(60),
            max_frame: 1024 * 1024,
            max_decoded: Limits::CLOUD_DECODED,
            max_decoded_by_device: Limits::DEVICE_DECODED,
            max_header: MAX_HEADER_CHARS,
            messages_per_second: 0,
            message_burst: 1,
            bytes_per_second: 0,
            byte_burst: 1,
            received_bytes: 64 * 1024 * 1024,
            queued_bytes: 64 * 1024 * 1024,
            queue_messages: 256,
            queue_bytes: 1024 * 1024,
        }
    }
}

/// Sums with it don't overflow.
const HUNDRED_YEARS: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Options {
    /// These options after `change`.
    ///
    /// ```
    /// let options = fedecks_cloud::Options::default().with(|it| it.max_frame = 64 * 1024);
    /// assert_eq!(options.max_frame, 65_536);
    /// ```
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Of frames from devices.
    pub(crate) fn limits_up(&self) -> Limits {
        let max_size = self.max_frame as usize;
        Limits { max_size, max_decoded: self.max_decoded, ..Limits::default() }
    }

    /// Of frames to devices.
    pub(crate) fn limits_down(&self) -> Limits {
        let max_size = self.max_frame as usize;
        Limits { max_size, max_decoded: self.max_decoded_by_device, ..Limits::default() }
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let whole = |duration: Duration| !duration.is_zero() && duration.subsec_nanos() == 0;
        // A message in fragments counts twice while it arrives, and so does its last fragment.
        let fits = |bytes: usize| bytes / 4 >= self.max_frame as usize;
        let decoded = 64 * 1024..=1024 * 1024 * 1024;
        let rules = [
            ("path", self.path.starts_with('/'), "a path that begins with '/'"),
            ("token_lifetime", whole(self.token_lifetime), "whole seconds, at least one"),
            ("token_lifetime", self.token_lifetime <= HUNDRED_YEARS, "at most 100 years"),
            ("token_refresh", !self.token_refresh.is_zero(), "more than 0"),
            ("token_refresh", self.token_refresh < self.token_lifetime, "less than token_lifetime"),
            ("token_grace", self.token_grace.subsec_nanos() == 0, "whole seconds"),
            ("token_grace", self.token_grace <= HUNDRED_YEARS, "at most 100 years"),
            ("heartbeat", whole(self.heartbeat), "whole seconds, at least one"),
            ("idle_timeout", whole(self.idle_timeout), "whole seconds, at least one"),
            ("idle_timeout", self.idle_timeout <= HUNDRED_YEARS, "at most 100 years"),
            ("idle_timeout", self.heartbeat < self.idle_timeout, "more than heartbeat"),
            (
                "max_frame",
                (1024..=Limits::MAX_SIZE).contains(&(self.max_frame as usize)),
                "1 KiB to 64 MiB",
            ),
            ("max_decoded", decoded.contains(&self.max_decoded), "64 KiB to 1 GiB"),
            (
                "max_decoded_by_device",
                decoded.contains(&self.max_decoded_by_device),
                "64 KiB to 1 GiB",
            ),
            ("max_header", self.max_header > 0, "more than 0"),
            ("message_burst", self.message_burst > 0, "more than 0"),
            ("byte_burst", self.byte_burst > 0, "more than 0"),
            ("received_bytes", fits(self.received_bytes), "at least four times max_frame"),
            ("queued_bytes", fits(self.queued_bytes), "at least four times max_frame"),
            ("queue_messages", self.queue_messages > 0, "more than 0"),
        ];
        match rules.into_iter().find(|(_, is_met, _)| !is_met) {
            None => Ok(()),
            Some((option, _, expected)) => Err(BuildError::Option { option, expected }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_option_is_named() {
        let seconds = Duration::from_secs;
        let default = Options::default;
        default().check().unwrap();
        for (option, options) in [
            ("path", Options { path: "no slash".into(), ..default() }),
            ("token_lifetime", Options { token_lifetime: Duration::from_millis(1), ..default() }),
            ("token_lifetime", Options { token_lifetime: seconds(u64::MAX), ..default() }),
            ("token_refresh", Options { token_refresh: Duration::ZERO, ..default() }),
            ("token_refresh", Options { token_refresh: default().token_lifetime, ..default() }),
            ("token_grace", Options { token_grace: Duration::from_millis(1), ..default() }),
            ("token_grace", Options { token_grace: seconds(u64::MAX), ..default() }),
            ("heartbeat", Options { heartbeat: Duration::from_millis(1500), ..default() }),
            ("idle_timeout", Options { idle_timeout: default().heartbeat, ..default() }),
            ("idle_timeout", Options { idle_timeout: seconds(u64::MAX), ..default() }),
            ("max_frame", Options { max_frame: 1023, ..default() }),
            ("max_frame", Options { max_frame: u32::MAX, ..default() }),
            ("max_decoded", Options { max_decoded: 65_535, ..default() }),
            ("max_decoded_by_device", Options { max_decoded_by_device: 0, ..default() }),
            ("max_header", Options { max_header: 0, ..default() }),
            ("message_burst", Options { message_burst: 0, ..default() }),
            ("byte_burst", Options { byte_burst: 0, ..default() }),
            (
                "received_bytes",
                Options { received_bytes: 4 << 20, max_frame: 2 << 20, ..default() },
            ),
            ("queued_bytes", Options { queued_bytes: (4 << 20) - 1, ..default() }),
            ("queue_messages", Options { queue_messages: 0, ..default() }),
        ] {
            let Err(BuildError::Option { option: named, .. }) = options.check() else {
                panic!("{options:?} passed");
            };
            assert_eq!(named, option);
        }
    }
}
