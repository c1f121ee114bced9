//! How a message to a device is kept, as requests say it in their query and in the header `Idempotency-Key`, and how it
//! is queued.

use std::time::Duration;

use fedecks_cloud::messaging::KeepDown;
use fedecks_cloud::messaging::backplane::Payload;
use fedecks_protocol::{DeviceId, EncodeError, Lane, Tag};

use super::input::{Parameter, ParameterKind};
use super::request::Request;
use crate::device_messages::{NewMessage, NotQueued, limits};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};

/// The longest time until a message expires, in seconds.
const MAX_EXPIRY_S: usize = KeepDown::MAX_EXPIRY.as_secs() as usize;

/// The longest idempotency key.
const MAX_KEY: usize = 255;

pub(super) const KEEP: Parameter = Parameter::flag(
    "keep",
    "Whether the message is kept until the device has acknowledged it, also while the device is not connected; false by \
     default",
);

pub(super) const LANE: Parameter = Parameter {
    kind: ParameterKind::Lane,
    ..Parameter::text(
        "lane",
        "The lane of a kept message, `normal` by default. Those of `urgent` go first",
    )
};

pub(super) const EXPIRES_IN: Parameter = Parameter {
    kind: ParameterKind::Number(MAX_EXPIRY_S),
    ..Parameter::text(
        "expires_in",
        "After how many seconds a kept message expires that was not sent; 86400, a day, by default",
    )
};

pub(super) const COLLAPSE_KEY: Parameter = Parameter::text(
    "collapse_key",
    "A kept message replaces those with the same key, 1 to 128 bytes, that were not sent",
);

pub(super) const IDEMPOTENCY_KEY: Parameter = Parameter {
    kind: ParameterKind::Key(MAX_KEY),
    ..Parameter::text(
        "Idempotency-Key",
        "Of a kept message. The same request with the same key, of the same token for the same device within 24 hours, has \
         the same answer and queues nothing",
    )
};

/// How the message is to be kept; `None` if it is sent at most once.
pub(super) fn options(request: &Request) -> Result<Option<Keep>, Problem> {
    let keep = request.flag(KEEP.name)?.unwrap_or(false);
    let lane = |word: &str| Lane::ALL.into_iter().find(|lane| lane.as_str() == word);
    let lane = request.parsed(LANE.name, "normal or urgent", lane)?;
    let seconds = |text: &str| {
        text.parse().ok().filter(|seconds| (1..=MAX_EXPIRY_S as u64).contains(seconds))
    };
    let expires_in = request.parsed(EXPIRES_IN.name, "1 to 2592000, in seconds", seconds)?;
    let is_key = |text: &&str| (1..=KeepDown::MAX_COLLAPSE_KEY).contains(&text.len());
    let collapse_key = request.parsed(COLLAPSE_KEY.name, "1 to 128 bytes", |text| {
        Some(text).filter(is_key).map(str::to_owned)
    })?;
    let key = idempotency_key(request)?;
    if keep {
        let keep = KeepDown::default().with(|it| {
            it.lane = lane.unwrap_or(it.lane);
            it.expires_in = expires_in.map_or(it.expires_in, Duration::from_secs);
            it.collapse_key = collapse_key;
        });
        return Ok(Some(Keep { keep, key }));
    }
    if lane.is_some() || expires_in.is_some() || collapse_key.is_some() || key.is_some() {
        let detail = "lane, expires_in, collapse_key and the header Idempotency-Key are for messages that are kept, \
                      expected keep=true as well";
        return Err(Problem::new(Code::InvalidQuery, detail));
    }
    Ok(None)
}

/// How a message is to be kept.
pub(super) struct Keep {
    keep: KeepDown,
    key: Option<String>,
}

impl Keep {
    /// Queues the message, and calls `accepted` unless it was queued before. Returns its id.
    pub(super) async fn queue(
        self,
        caller: &Caller,
        request: &Request,
        device: DeviceId,
        payload: Payload,
        accepted: impl FnOnce(Tag) + Send + 'static,
    ) -> Result<Tag, Problem> {
        let Self { keep, key } = self;
        let key = key.map(|key| (caller.name().to_owned(), key));
        let message = NewMessage { payload, keep, key };
        request.state.device_messages.queue(device, message, accepted).await.map_err(problem)
    }
}

fn idempotency_key(request: &Request) -> Result<Option<String>, Problem> {
    let invalid = || {
        let detail = "Idempotency-Key: expected one header of 1 to 255 characters, printable ASCII without spaces";
        Problem::new(Code::InvalidHeader, detail)
    };
    let key = match &request.idempotency_keys[..] {
        [] => return Ok(None),
        [key] => key.to_str().map_err(|_| invalid())?,
        _ => return Err(invalid()),
    };
    let is_valid = (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    if is_valid { Ok(Some(key.to_owned())) } else { Err(invalid()) }
}

fn problem(error: NotQueued) -> Problem {
    let limits = limits();
    match error {
        NotQueued::ClockBehind => {
            Problem::temporary(Code::ClockBehind, "a kept message needs the time", 10)
        }
        NotQueued::Encode(error) => encode_problem(&error),
        NotQueued::TooBig(bytes) => Problem::new(
            Code::MessageTooBig,
            format!(
                "the message takes {bytes} bytes of the store, expected at most {}",
                limits.bytes
            ),
        ),
        NotQueued::QueueFull(bytes) => Problem::new(
            Code::QueueFull,
            format!(
                "at most {} messages and {} bytes wait for a device, and this message takes {bytes} bytes",
                limits.messages, limits.bytes
            ),
        ),
        NotQueued::StoreFull => Problem::temporary(
            Code::StoreFull,
            format!("at most {} bytes wait for all devices together", limits.total_bytes),
            60,
        ),
        NotQueued::KeyConflict => Problem::new(
            Code::IdempotencyKeyReused,
            "the key was used within 24 hours with another message or other options",
        ),
        NotQueued::Store(error) => error.into(),
    }
}

/// A message that does not fit into a frame.
pub(super) fn encode_problem(error: &EncodeError) -> Problem {
    let code = match error {
        EncodeError::TooBig { .. } | EncodeError::TooHeavy { .. } => Code::MessageTooBig,
        EncodeError::TooDeep { .. } => Code::MessageTooDeep,
        EncodeError::UnknownFrame | _ => Code::InvalidBody,
    };
    Problem::new(code, format!("cannot encode the message: {error}"))
}
