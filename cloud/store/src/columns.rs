//! How values are kept in the columns of a database, whichever it is.

use fedecks_protocol::Tag;

use crate::device_queue::{DownState, DropReason};

/// A database's integers are signed; neither seconds nor counters come near the limit.
pub(crate) fn to_column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn from_column(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// All 64 bits are used.
pub(crate) fn tag_to_column(tag: Tag) -> i64 {
    i64::from_ne_bytes(tag.0.to_ne_bytes())
}

pub(crate) fn tag_from_column(number: i64) -> Tag {
    Tag(u64::from_ne_bytes(number.to_ne_bytes()))
}

/// The later of a column and a new time. But what is more than a day later was noted by a clock that was ahead;
/// without this it would stay until that time has come.
pub(crate) fn later_of(column: &str, new: &str) -> String {
    format!("CASE WHEN {column} > {new} AND {column} <= {new} + 86400 THEN {column} ELSE {new} END")
}

/// As numbers, states are the same forever; whether a message was sent is in its stream.
pub(crate) fn down_state_to_column(state: DownState) -> i64 {
    match state {
        DownState::Queued | DownState::Sent => 0,
        DownState::Delivered => 1,
        DownState::Rejected => 2,
        DownState::Expired => 3,
        DownState::Dropped(DropReason::Replaced) => 4,
        DownState::Dropped(DropReason::Cancelled) => 5,
        DownState::Dropped(DropReason::ReRegistered) => 6,
    }
}

/// A message that waits is [`DownState::Queued`].
pub(crate) fn down_state_from_column(number: i64) -> Option<DownState> {
    Some(match number {
        0 => DownState::Queued,
        1 => DownState::Delivered,
        2 => DownState::Rejected,
        3 => DownState::Expired,
        4 => DownState::Dropped(DropReason::Replaced),
        5 => DownState::Dropped(DropReason::Cancelled),
        6 => DownState::Dropped(DropReason::ReRegistered),
        _ => return None,
    })
}
