//! The numbers that a cloud goes by: paths, lifetimes, limits and the size of queues.

use std::time::Duration;

use fedecks_protocol::{DEFAULT_PATH, Limits, MAX_HEADER_CHARS};

use crate::build_error::BuildError;

/// The numbers that a cloud goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Path of the device socket, below where the filter is mounted.
    pub path: String,
    /// For how long a token is good. Whole seconds.
    pub token_lifetime: Duration,
    /// After how long a connected device gets a new token.
    pub token_refresh: Duration,
    /// After how much silence a device pings. Whole seconds.
    pub heartbeat: Duration,
    /// After how much silence a device is dropped. Whole seconds.
    pub idle_timeout: Duration,
    /// The biggest frame, in either direction, in bytes.
    pub max_frame: u32,
    /// The longest authentication header, in characters.
    pub max_header: usize,
    /// How many messages a device may send per second, of whatever kind, pings included; 0 for as
    /// many as it likes. Above that its session stops reading for a moment, so that TCP holds the
    /// device back. Nothing is lost.
    pub messages_per_second: u32,
    /// How many of them at once after a quiet time, at least one.
    pub message_burst: u32,
    /// How many messages may wait for one device.
    pub queue_messages: usize,
    /// About how many bytes may wait for one device. A single message may be bigger.
    pub queue_bytes: usize,
}

impl Default for Options {
    /// The path `/fedecks/websocket`, tokens of 4 weeks renewed every 3 hours, a ping after 19 s, the
    /// end after 60 s, frames of 1 MiB, a header of 4,096 characters, as many messages as the device
    /// likes, queues of 256 messages and 1 MiB.
    fn default() -> Self {
        Self {
            path: DEFAULT_PATH.to_owned(),
            token_lifetime: Duration::from_secs(4 * 7 * 24 * 3600),
            token_refresh: Duration::from_secs(3 * 3600),
            heartbeat: Duration::from_secs(19),
            idle_timeout: Duration::from_secs(60),
            max_frame: 1024 * 1024,
            max_header: MAX_HEADER_CHARS,
            messages_per_second: 0,
            message_burst: 1,
            queue_messages: 256,
            queue_bytes: 1024 * 1024,
        }
    }
}

/// Sums with it don't overflow.
const A_HUNDRED_YEARS: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Options {
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let whole = |duration: Duration| !duration.is_zero() && duration.subsec_nanos() == 0;
        let rules = [
            ("path", self.path.starts_with('/'), "has to begin with '/'"),
            ("token_lifetime", whole(self.token_lifetime), "whole seconds, at least one"),
            ("token_lifetime", self.token_lifetime <= A_HUNDRED_YEARS, "at most a hundred years"),
            ("token_refresh", !self.token_refresh.is_zero(), "more than nothing"),
            (
                "token_refresh",
                self.token_refresh < self.token_lifetime,
                "shorter than the tokens' lifetime",
            ),
            ("heartbeat", whole(self.heartbeat), "whole seconds, at least one"),
            ("idle_timeout", whole(self.idle_timeout), "whole seconds, at least one"),
            ("idle_timeout", self.idle_timeout <= A_HUNDRED_YEARS, "at most a hundred years"),
            ("idle_timeout", self.heartbeat < self.idle_timeout, "longer than the heartbeat"),
            (
                "max_frame",
                (1024..=Limits::MAX_SIZE).contains(&(self.max_frame as usize)),
                "1 KiB to 64 MiB",
            ),
            ("max_header", self.max_header > 0, "more than nothing"),
            ("message_burst", self.message_burst > 0, "more than nothing"),
            ("queue_messages", self.queue_messages > 0, "more than nothing"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            None => Ok(()),
            Some((option, _, expected)) => Err(BuildError::Option { option, expected }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_cannot_work_is_named() {
        let seconds = Duration::from_secs;
        let default = Options::default;
        assert_eq!(default().check(), Ok(()));
        for (option, options) in [
            ("path", Options { path: "no slash".into(), ..default() }),
            ("token_lifetime", Options { token_lifetime: Duration::from_millis(1), ..default() }),
            ("token_lifetime", Options { token_lifetime: seconds(u64::MAX), ..default() }),
            ("token_refresh", Options { token_refresh: Duration::ZERO, ..default() }),
            ("token_refresh", Options { token_refresh: default().token_lifetime, ..default() }),
            ("heartbeat", Options { heartbeat: Duration::from_millis(1500), ..default() }),
            ("idle_timeout", Options { idle_timeout: default().heartbeat, ..default() }),
            ("idle_timeout", Options { idle_timeout: seconds(u64::MAX), ..default() }),
            ("max_frame", Options { max_frame: 1023, ..default() }),
            ("max_frame", Options { max_frame: u32::MAX, ..default() }),
            ("max_header", Options { max_header: 0, ..default() }),
            ("message_burst", Options { message_burst: 0, ..default() }),
            ("queue_messages", Options { queue_messages: 0, ..default() }),
        ] {
            let Err(BuildError::Option { option: named, .. }) = options.check() else {
                panic!("{options:?} passed");
            };
            assert_eq!(named, option);
        }
    }
}
