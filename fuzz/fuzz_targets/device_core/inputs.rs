//! The next input out of the fuzzer's bytes.

use std::time::Duration;

use fedecks_device_core::{DialError, LostReason, Network, Outcome, Phase};
use fedecks_protocol::{
    Ack, Capabilities, CloseReason, Content, DeliveryFrame, DeliveryOffer, Dialect, DownFrame,
    InstallationId, Kept, Lane, Limits, NoReplyReason, Refusal, RequestFrame, RequestId, Resume,
    Skip, SkipReason, StreamId, Tag, Term, UpFrame, Welcome,
};
use libfuzzer_sys::arbitrary::{Result, Unstructured};

use crate::input::{Input, LinkInput, token};

/// The next input; an error at the end of the bytes.
pub(crate) fn next(bytes: &mut Unstructured<'_>) -> Result<Input> {
    Ok(match bytes.int_in_range(0..=22)? {
        0 => Input::Pass(duration(bytes)?),
        1 => Input::Timeout,
        2 | 3 => Input::NextDeadline,
        4 => Input::Loaded(match bytes.int_in_range(0..=2)? {
            0 => Err("not mounted".into()),
            1 => Ok(None),
            _ => Ok(Some(token(bytes.arbitrary()?))),
        }),
        5 => Input::Stored(if bytes.arbitrary()? { Ok(()) } else { Err("read-only".into()) }),
        // Some are too long.
        6 => Input::Login(bytes.int_in_range(0..=6_000)?, bytes.arbitrary()?),
        7 => Input::Logout,
        8 => Input::Reconnect,
        9 => Input::Network(*bytes.choose(&[Network::Up, Network::Changed, Network::Down])?),
        10 => Input::Send(up_frame(bytes)?, bytes.arbitrary()?),
        16 => Input::Keep {
            lane: lane(bytes)?,
            size: bytes.int_in_range(0..=10_000)?,
            expires_in: duration(bytes)?,
        },
        17 => Input::Acknowledge(*bytes.choose(&[Outcome::Processed, Outcome::Rejected])?),
        18 => Input::Writable,
        19 => Input::Ask(duration(bytes)?),
        20 => Input::Reply,
        21 => Input::Confirm(bytes.arbitrary()?),
        22 => Input::Nonce,
        _ => {
            // From an attempt other than the current one in two of eight cases.
            let attempt = *bytes.choose(&[0, 0, 0, 0, 0, 0, -1, 1])?;
            Input::From(attempt, link_input(bytes)?)
        }
    })
}

fn link_input(bytes: &mut Unstructured<'_>) -> Result<LinkInput> {
    let phases = [Phase::Resolve, Phase::Tcp, Phase::Tls, Phase::Upgrade, Phase::Welcome];
    Ok(match bytes.int_in_range(0..=12)? {
        0 => LinkInput::Phase(*bytes.choose(&phases)?),
        1 | 2 => LinkInput::Dialed(Ok(())),
        3 => LinkInput::Dialed(Err(DialError::Refused {
            refusal: *bytes.choose(&Refusal::ALL)?,
            retry_after: retry_after(bytes)?,
        })),
        4 => LinkInput::Dialed(Err(DialError::Unreachable {
            phase: Phase::Tcp,
            error: "no route".into(),
        })),
        5 | 6 => LinkInput::Frame(down_frame(bytes)?),
        7 => {
            let length = bytes.int_in_range(0..=300)?.min(bytes.len());
            LinkInput::Bytes(bytes.bytes(length)?.to_vec())
        }
        8 => LinkInput::Text,
        9 => LinkInput::Traffic,
        10 => LinkInput::Pong,
        12 => LinkInput::Progress,
        _ => LinkInput::Lost(match bytes.int_in_range(0..=3)? {
            0 => LostReason::Broken("reset".into()),
            1 => LostReason::NoPong,
            _ => LostReason::Closed(CloseReason {
                code: bytes.arbitrary::<u16>()?.into(),
                retry_after: retry_after(bytes)?,
            }),
        }),
    })
}

fn down_frame(bytes: &mut Unstructured<'_>) -> Result<DownFrame> {
    Ok(match bytes.int_in_range(0..=9)? {
        0..=2 => DownFrame::Welcome(Welcome {
            server_time_ms: bytes.arbitrary()?,
            heartbeat: Duration::from_secs(bytes.arbitrary::<u64>()?),
            idle_timeout: Duration::from_secs(bytes.arbitrary::<u64>()?),
            max_frame: bytes.arbitrary()?,
            delivery: offer(bytes)?,
        }),
        3 | 4 => DownFrame::Token(token(bytes.arbitrary()?)),
        5 => DownFrame::Message { sequence: None, term: Term::from("hello") },
        6 => DownFrame::Delivery(delivery(bytes)?),
        7 | 8 => DownFrame::Alive(bytes.int_in_range(0..=3)?),
        _ => DownFrame::Request(request(bytes)?),
    })
}

fn request(bytes: &mut Unstructured<'_>) -> Result<RequestFrame> {
    let request = RequestId(bytes.int_in_range(0..=3)?);
    let content = Dialect::Bincode.keep_term(&Term::from("hello"), &Limits::default());
    Ok(match (bytes.int_in_range(0..=4)?, content) {
        (0, Ok(content)) => RequestFrame::Reply { request, content },
        (1, _) => {
            RequestFrame::no_reply(request, NoReplyReason::from_number(bytes.arbitrary()?), "")
        }
        (2 | 3, Ok(content)) => {
            RequestFrame::Request { request, timeout_ms: bytes.arbitrary()?, content }
        }
        (_, _) => RequestFrame::Cancel { request },
    })
}

/// Of one of two installations.
fn offer(bytes: &mut Unstructured<'_>) -> Result<Option<DeliveryOffer>> {
    let capabilities = Capabilities(bytes.int_in_range(0..=8)?);
    let installation = InstallationId([bytes.int_in_range(0..=1)?; 16]);
    Ok(bytes.arbitrary::<bool>()?.then_some(DeliveryOffer { capabilities, installation }))
}

fn delivery(bytes: &mut Unstructured<'_>) -> Result<DeliveryFrame> {
    let handle = bytes.int_in_range(0..=2)?;
    Ok(match bytes.int_in_range(0..=5)? {
        0 => DeliveryFrame::Close { handle },
        1 => DeliveryFrame::Rewind { handle, to: bytes.arbitrary()? },
        3 => DeliveryFrame::Resume(Resume {
            handle,
            lane: lane(bytes)?,
            stream: StreamId([bytes.int_in_range(0..=3)?; 16]),
            oldest: bytes.arbitrary()?,
            newest: bytes.arbitrary()?,
        }),
        4 => DeliveryFrame::Skip(Skip {
            handle,
            from: bytes.arbitrary()?,
            to: bytes.arbitrary()?,
            reason: SkipReason::Expired,
        }),
        5 => DeliveryFrame::Kept(Kept {
            handle,
            sequence: bytes.arbitrary()?,
            tag: Tag(bytes.int_in_range(1..=3)?),
            sent_at_ms: bytes.arbitrary()?,
            redelivered: bytes.arbitrary()?,
            content: Content::Raw(vec![7; bytes.int_in_range(0..=300)?]),
        }),
        _ => DeliveryFrame::Ack(Ack {
            handle,
            up_to: bytes.arbitrary()?,
            tag: Tag(bytes.arbitrary()?),
            credit_to: bytes.arbitrary()?,
            credit_bytes: bytes.arbitrary()?,
            rejected: bytes.arbitrary()?,
        }),
    })
}

fn lane(bytes: &mut Unstructured<'_>) -> Result<Lane> {
    Ok(*bytes.choose(&Lane::ALL)?)
}

fn up_frame(bytes: &mut Unstructured<'_>) -> Result<UpFrame> {
    Ok(match bytes.int_in_range(0..=2)? {
        0 => {
            let size = bytes.int_in_range(0..=5_000)?;
            UpFrame::Raw { sequence: None, bytes: vec![0; size] }
        }
        1 => UpFrame::TokenPlease,
        _ => UpFrame::Unknown { kind: bytes.arbitrary()? },
    })
}

/// Up to two seconds, two minutes or two weeks.
fn duration(bytes: &mut Unstructured<'_>) -> Result<Duration> {
    let most = *bytes.choose(&[2_000, 120_000, 1_200_000_000])?;
    Ok(Duration::from_millis(bytes.int_in_range(0..=most)?))
}

fn retry_after(bytes: &mut Unstructured<'_>) -> Result<Option<Duration>> {
    let seconds = bytes.arbitrary::<Option<u64>>()?;
    Ok(seconds.map(Duration::from_secs))
}
