//! The answers to calls between nodes, and the encoding of their errors.

use fedecks_cloud::Term;
use fedecks_cloud::messaging::{BackplaneError, DeliverError, NoReply, RequestError};
use fedecks_protocol::{EncodeError, NoReplyReason, TermError};

use super::bytes::{Reader, Writer};
use super::head::{Instance, begin, decode_term, encode_term, head};

/// The answer to a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Delivered(Result<(), DeliverError>),
    Closed(bool),
    Answered(Result<Term, RequestError>),
}

impl Answer {
    /// An answer that cannot be encoded leaves the outcome unknown.
    pub(crate) fn encode(&self, from: Instance) -> Vec<u8> {
        match self {
            Self::Delivered(result) => {
                let mut writer = begin(0, from);
                deliver_error(&mut writer, result);
                writer.0
            }
            Self::Closed(closed) => {
                let mut writer = begin(1, from);
                writer.u8(u8::from(*closed));
                writer.0
            }
            Self::Answered(Ok(term)) => {
                let Ok(term) = encode_term(term) else {
                    return Self::Answered(Err(RequestError::OutcomeUnknown)).encode(from);
                };
                let mut writer = begin(2, from);
                writer.bytes(&term);
                writer.0
            }
            Self::Answered(Err(error)) => {
                let mut writer = begin(3, from);
                request_error(&mut writer, error);
                writer.0
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut reader, kind, _) = head(bytes)?;
        let answer = match kind {
            0 => Self::Delivered(read_deliver_error(&mut reader)?),
            1 => Self::Closed(reader.flag()?),
            2 => Self::Answered(Ok(decode_term(reader.rest())?)),
            3 => Self::Answered(Err(read_request_error(&mut reader)?)),
            _ => return None,
        };
        reader.end()?;
        Some(answer)
    }
}

fn deliver_error(writer: &mut Writer, result: &Result<(), DeliverError>) {
    match result {
        Ok(()) => writer.u8(0),
        Err(DeliverError::NotConnected) => writer.u8(1),
        Err(DeliverError::QueueFull) => writer.u8(2),
        Err(DeliverError::Encode(error)) => {
            writer.u8(3);
            encode_error(writer, error);
        }
        Err(error) => {
            writer.u8(4);
            writer.text(&reason(error));
        }
    }
}

fn read_deliver_error(reader: &mut Reader<'_>) -> Option<Result<(), DeliverError>> {
    Some(Err(match reader.u8()? {
        0 => return Some(Ok(())),
        1 => DeliverError::NotConnected,
        2 => DeliverError::QueueFull,
        3 => DeliverError::Encode(read_encode_error(reader)?),
        4 => DeliverError::Backplane(BackplaneError::new(reader.text()?)),
        _ => return None,
    }))
}

fn request_error(writer: &mut Writer, error: &RequestError) {
    match error {
        RequestError::Value(error) => {
            writer.u8(0);
            writer.text(&error.to_string());
        }
        RequestError::Encode(error) => {
            writer.u8(1);
            encode_error(writer, error);
        }
        RequestError::NotConnected => writer.u8(2),
        RequestError::NotHere => writer.u8(3),
        RequestError::Unsupported => writer.u8(4),
        RequestError::Busy => writer.u8(5),
        RequestError::Backplane(error) => {
            writer.u8(6);
            writer.text(&reason(error));
        }
        RequestError::NoReply(NoReply { reason, text, .. }) => {
            writer.u8(7);
            let (kind, number) = match reason {
                NoReplyReason::Unhandled => (0, 0),
                NoReplyReason::Busy => (1, 0),
                NoReplyReason::Failed => (2, 0),
                NoReplyReason::Undecodable => (3, 0),
                NoReplyReason::Other(number) => (4, *number),
            };
            writer.u8(kind);
            writer.u64(number);
            writer.text(text);
        }
        RequestError::TimedOut => writer.u8(8),
        // Of one that this version does not know, nothing is certain.
        RequestError::OutcomeUnknown | _ => writer.u8(9),
    }
}

fn read_request_error(reader: &mut Reader<'_>) -> Option<RequestError> {
    Some(match reader.u8()? {
        0 => RequestError::Value(term_error(reader.text()?)),
        1 => RequestError::Encode(read_encode_error(reader)?),
        2 => RequestError::NotConnected,
        3 => RequestError::NotHere,
        4 => RequestError::Unsupported,
        5 => RequestError::Busy,
        6 => RequestError::Backplane(BackplaneError::new(reader.text()?)),
        7 => {
            let (kind, number) = (reader.u8()?, reader.u64()?);
            let reason = match kind {
                0 => NoReplyReason::Unhandled,
                1 => NoReplyReason::Busy,
                2 => NoReplyReason::Failed,
                3 => NoReplyReason::Undecodable,
                4 => NoReplyReason::Other(number),
                _ => return None,
            };
            RequestError::NoReply(NoReply::new(reason, reader.text()?))
        }
        8 => RequestError::TimedOut,
        9 => RequestError::OutcomeUnknown,
        _ => return None,
    })
}

fn term_error(text: &str) -> TermError {
    serde::de::Error::custom(text)
}

fn encode_error(writer: &mut Writer, error: &EncodeError) {
    let (kind, one, two) = match error {
        EncodeError::TooBig { size, limit } => (0, *size, *limit),
        EncodeError::TooDeep { limit } => (1, usize::from(*limit), 0),
        EncodeError::TooHeavy { weight, limit } => (2, *weight, *limit),
        // Both mean that it cannot be sent at all.
        EncodeError::UnknownFrame | _ => (3, 0, 0),
    };
    writer.u8(kind);
    writer.size(one);
    writer.size(two);
}

fn read_encode_error(reader: &mut Reader<'_>) -> Option<EncodeError> {
    let (kind, one, two) = (reader.u8()?, reader.size()?, reader.size()?);
    Some(match kind {
        0 => EncodeError::TooBig { size: one, limit: two },
        1 => EncodeError::TooDeep { limit: u16::try_from(one).ok()? },
        2 => EncodeError::TooHeavy { weight: one, limit: two },
        3 => EncodeError::UnknownFrame,
        _ => return None,
    })
}

/// The reason in a [`BackplaneError`], so that carrying it does not repeat what it says itself.
fn reason(error: &impl ToString) -> String {
    let text = error.to_string();
    text.strip_prefix("the backplane is not available: ").map(str::to_owned).unwrap_or(text)
}
