//! The WebSocket close codes that the protocol defines, and the delay that may accompany one.

use std::fmt;
use std::time::Duration;

/// Why an end closed a WebSocket: the close codes that the protocol defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1000: normal closure.
    Normal,
    /// 1001: the end is going away, for example a device that shuts down.
    GoingAway,
    /// 1002: the other end violated the WebSocket protocol.
    ProtocolError,
    /// 1008: the cloud's policy, or its handler, ended the session.
    Policy,
    /// 1009: a message was larger than the limit in the Welcome frame.
    TooBig,
    /// 1011: an internal error in the cloud.
    InternalError,
    /// 1012: the cloud is restarting.
    Restart,
    /// 1013: the cloud is overloaded, or the device read too slowly.
    Overloaded,
    /// 4401: the device's tokens were revoked.
    Revoked,
    /// 4403: the device is blocked.
    Blocked,
    /// 4409: replaced by a newer connection of the same device.
    Replaced,
    /// Any other code.
    Other(u16),
}

impl CloseCode {
    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::InternalError => 1011,
            Self::Restart => 1012,
            Self::Overloaded => 1013,
            Self::Revoked => 4401,
            Self::Blocked => 4403,
            Self::Replaced => 4409,
            Self::Other(code) => code,
        }
    }
}

impl fmt::Display for CloseCode {
    /// For people, with the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self {
            Self::Normal => "done",
            Self::GoingAway => "going away",
            Self::ProtocolError => "protocol error",
            Self::Policy => "policy",
            Self::TooBig => "a message was too big",
            Self::InternalError => "internal error",
            Self::Restart => "restarting",
            Self::Overloaded => "overloaded, or this device reads too slowly",
            Self::Revoked => "the token was revoked",
            Self::Blocked => "the device is blocked",
            Self::Replaced => "replaced by a newer connection of the same device",
            Self::Other(code) => return write!(f, "code {code}"),
        };
        write!(f, "{meaning} (code {})", self.code())
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        match code {
            1000 => Self::Normal,
            1001 => Self::GoingAway,
            1002 => Self::ProtocolError,
            1008 => Self::Policy,
            1009 => Self::TooBig,
            1011 => Self::InternalError,
            1012 => Self::Restart,
            1013 => Self::Overloaded,
            4401 => Self::Revoked,
            4403 => Self::Blocked,
            4409 => Self::Replaced,
            other => Self::Other(other),
        }
    }
}

/// A close frame: its code and, optionally, how long to wait before reconnecting. On the wire the delay
/// is the reason text `retry-after=SECONDS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseReason {
    /// The code.
    pub code: CloseCode,
    /// How long the other end should wait before it reconnects, in whole seconds.
    pub retry_after: Option<Duration>,
}

impl CloseReason {
    /// A close without a delay.
    pub fn new(code: CloseCode) -> Self {
        Self { code, retry_after: None }
    }

    /// A close that asks the other end to reconnect after `delay`, rounded down to whole seconds.
    pub fn retry_after(code: CloseCode, delay: Duration) -> Self {
        Self { code, retry_after: Some(Duration::from_secs(delay.as_secs())) }
    }

    /// The reason text of the close frame, at most 123 bytes.
    pub fn text(&self) -> String {
        self.retry_after
            .map_or_else(String::new, |delay| format!("retry-after={}", delay.as_secs()))
    }

    /// Parses a close frame; any other reason text means no delay.
    pub fn parse(code: u16, text: &str) -> Self {
        let seconds = text.strip_prefix("retry-after=").and_then(|digits| digits.parse().ok());
        Self { code: code.into(), retry_after: seconds.map(Duration::from_secs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_round_trips_through_its_number() {
        for code in 1000..=4999 {
            assert_eq!(CloseCode::from(code).code(), code);
        }
        assert_eq!(CloseCode::from(4409), CloseCode::Replaced);
    }

    #[test]
    fn the_delay_travels_in_the_reason_text() {
        let close = CloseReason::retry_after(CloseCode::Restart, Duration::from_millis(17_900));
        assert_eq!(close.text(), "retry-after=17");
        assert_eq!(
            CloseReason::parse(1012, "retry-after=17"),
            CloseReason::retry_after(CloseCode::Restart, Duration::from_secs(17))
        );
    }

    #[test]
    fn any_other_reason_text_means_no_delay() {
        for text in ["", "bye", "retry-after=", "retry-after=-1", "retry-after=1.5"] {
            assert_eq!(CloseReason::parse(1012, text).retry_after, None, "{text:?}");
        }
    }
}
