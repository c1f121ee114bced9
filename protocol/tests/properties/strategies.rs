//! Strategies for terms, frames and headers.

use std::num::NonZeroU64;
use std::time::Duration;

use fedecks_protocol::{
    Ack, AuthRequest, Capabilities, Content, Credentials, DeliveryFrame, DeliveryOffer, DeviceId,
    Dialect, DownFrame, InstallationId, IssuedToken, Kept, Lane, Limits, NoReplyReason, Proof,
    RequestFrame, RequestId, Resume, Sequence, Skip, SkipReason, StreamId, Tag, Term, Token,
    UpFrame, Welcome,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) const DIALECT: Dialect = Dialect::Bincode;

/// The widest possible limits.
pub(crate) const WIDEST: Limits =
    Limits { max_size: Limits::MAX_SIZE, max_depth: Limits::MAX_DEPTH, max_decoded: usize::MAX };

/// The term with each float replaced by its bits, so that NaNs compare and 0.0 differs from -0.0.
pub(crate) fn exact(term: &Term) -> Term {
    match term {
        Term::Float(value) => {
            Term::Tuple(vec![Term::Atom("float".into()), Term::from(value.to_bits())])
        }
        Term::List(items) => Term::List(items.iter().map(exact).collect()),
        Term::Tuple(items) => Term::Tuple(items.iter().map(exact).collect()),
        Term::Map(entries) => {
            Term::Map(entries.iter().map(|(key, value)| (exact(key), exact(value))).collect())
        }
        Term::Nil
        | Term::Bool(_)
        | Term::Int(_)
        | Term::Str(_)
        | Term::Bytes(_)
        | Term::Atom(_) => term.clone(),
    }
}

/// Lists, tuples and maps around `term`, `levels` of them.
pub(crate) fn nested(levels: usize, term: Term) -> Term {
    (0..levels).fold(term, |inner, level| match level % 4 {
        0 => Term::List(vec![inner]),
        1 => Term::Tuple(vec![Term::Nil, inner]),
        2 => Term::Map(vec![(Term::Nil, inner)]),
        _ => Term::Map(vec![(inner, Term::Nil)]),
    })
}

pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().collect()),
        1 => (245_usize..260).prop_map(|length| "x".repeat(length)),
    ]
}

/// Includes the values around every change of an integer's width on the wire.
pub(crate) fn int() -> impl Strategy<Value = i128> {
    let edges = [
        125,
        126,
        32_767,
        32_768,
        2_147_483_647,
        2_147_483_648,
        i128::from(i64::MAX),
        i128::from(u64::MAX),
        i128::MAX,
    ];
    prop_oneof![
        any::<i128>(),
        any::<i64>().prop_map(i128::from),
        any::<i8>().prop_map(i128::from),
        (select(edges.to_vec()), any::<bool>(), 0_i128..3).prop_map(|(edge, negative, more)| {
            let edge = if negative { -edge } else { edge };
            edge.saturating_add(more - 1)
        }),
        Just(i128::MIN),
    ]
}

/// Any bits, and values that are easily lost.
pub(crate) fn float() -> impl Strategy<Value = f64> {
    let special = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -f64::NAN, f64::MIN];
    prop_oneof![any::<u64>().prop_map(f64::from_bits), select(special.to_vec())]
}

fn leaf() -> impl Strategy<Value = Term> {
    prop_oneof![
        Just(Term::Nil),
        any::<bool>().prop_map(Term::Bool),
        int().prop_map(Term::Int),
        float().prop_map(Term::Float),
        text().prop_map(Term::Str),
        vec(any::<u8>(), 0..300).prop_map(Term::Bytes),
        text().prop_map(Term::Atom),
    ]
}

/// A bushy term of at most five levels.
pub(crate) fn bushy() -> impl Strategy<Value = Term> {
    leaf().prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Term::List),
            vec(inner.clone(), 0..6).prop_map(Term::Tuple),
            vec((inner.clone(), inner), 0..4).prop_map(Term::Map),
        ]
    })
}

/// Any term within the widest limits.
pub(crate) fn term() -> impl Strategy<Value = Term> {
    prop_oneof![
        4 => bushy(),
        1 => (0_usize..=usize::from(Limits::MAX_DEPTH) - 5, bushy())
            .prop_map(|(levels, term)| nested(levels, term)),
    ]
}

fn sequence() -> impl Strategy<Value = Option<Sequence>> {
    any::<u64>().prop_map(|number| NonZeroU64::new(number).map(Sequence))
}

/// Includes the values around every change of an integer's width on the wire.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1_u64..=300,
        1 => 65_535_u64..=65_536,
        1 => u64::from(u32::MAX)..=1 << 32,
        1 => Limits::MAX_NUMBER - 1..=Limits::MAX_NUMBER,
        1 => 1..=Limits::MAX_NUMBER,
    ]
}

fn resume() -> impl Strategy<Value = Resume> {
    let lane = select(Lane::ALL.to_vec());
    (any::<u64>(), lane, any::<[u8; 16]>(), number(), number()).prop_map(
        |(handle, lane, stream, oldest, count)| {
            let newest = (oldest - 1).saturating_add(count - 1).min(Limits::MAX_NUMBER);
            Resume { handle, lane, stream: StreamId(stream), oldest, newest }
        },
    )
}

pub(crate) fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        term().prop_filter_map("not a term", |term| {
            DIALECT.keep_term(&term, &WIDEST).ok().map(Content::Term)
        }),
        vec(any::<u8>(), 0..300).prop_map(Content::Raw),
    ]
}

fn kept() -> impl Strategy<Value = Kept> {
    let sent_at_ms = proptest::option::of(1..=u64::MAX);
    (any::<u64>(), number(), any::<u64>(), sent_at_ms, any::<bool>(), content()).prop_map(
        |(handle, sequence, tag, sent_at_ms, redelivered, content)| Kept {
            handle,
            sequence,
            tag: Tag(tag),
            sent_at_ms,
            redelivered,
            content,
        },
    )
}

fn skip() -> impl Strategy<Value = Skip> {
    let reason = prop_oneof![0_u64..12, any::<u64>()].prop_map(SkipReason::from_number);
    (any::<u64>(), number(), number(), reason).prop_map(|(handle, one, other, reason)| Skip {
        handle,
        from: one.min(other),
        to: one.max(other),
        reason,
    })
}

fn ack() -> impl Strategy<Value = Ack> {
    let rejected = proptest::collection::btree_set(number(), 0..8);
    (any::<u64>(), any::<u64>(), any::<u64>(), any::<(u64, u64)>(), rejected).prop_map(
        |(handle, more, tag, (credit_to, credit_bytes), rejected)| Ack {
            handle,
            up_to: rejected.last().map_or(more, |last| more.max(*last)),
            tag: Tag(tag),
            credit_to,
            credit_bytes,
            rejected: rejected.into_iter().collect(),
        },
    )
}

pub(crate) fn delivery() -> impl Strategy<Value = DeliveryFrame> {
    prop_oneof![
        resume().prop_map(DeliveryFrame::Resume),
        kept().prop_map(DeliveryFrame::Kept),
        skip().prop_map(DeliveryFrame::Skip),
        any::<u64>().prop_map(|handle| DeliveryFrame::Close { handle }),
        ack().prop_map(DeliveryFrame::Ack),
        any::<(u64, u64)>().prop_map(|(handle, to)| DeliveryFrame::Rewind { handle, to }),
    ]
}

pub(crate) fn request() -> impl Strategy<Value = RequestFrame> {
    let content = || {
        term().prop_filter_map("cannot be encoded", |term| {
            Dialect::Bincode.keep_term(&term, &WIDEST).ok()
        })
    };
    let reason = prop_oneof![0_u64..6, any::<u64>()].prop_map(NoReplyReason::from_number);
    let id = || any::<u64>().prop_map(RequestId);
    prop_oneof![
        (id(), any::<u64>(), content()).prop_map(|(request, timeout_ms, content)| {
            RequestFrame::Request { request, timeout_ms, content }
        }),
        (id(), content()).prop_map(|(request, content)| RequestFrame::Reply { request, content }),
        (id(), reason, any::<String>())
            .prop_map(|(request, reason, text)| RequestFrame::no_reply(request, reason, &text)),
        id().prop_map(|request| RequestFrame::Cancel { request }),
    ]
}

fn offer() -> impl Strategy<Value = DeliveryOffer> {
    any::<(u64, [u8; 16])>().prop_map(|(capabilities, installation)| DeliveryOffer {
        capabilities: Capabilities(capabilities),
        installation: InstallationId(installation),
    })
}

pub(crate) fn up_frame() -> impl Strategy<Value = UpFrame> {
    prop_oneof![
        (sequence(), term()).prop_map(|(sequence, term)| UpFrame::Message { sequence, term }),
        (sequence(), vec(any::<u8>(), 0..300))
            .prop_map(|(sequence, bytes)| UpFrame::Raw { sequence, bytes }),
        Just(UpFrame::TokenPlease),
        any::<u64>().prop_map(|set| UpFrame::Hello(Capabilities(set))),
        any::<u64>().prop_map(UpFrame::KeepAlive),
        delivery().prop_map(UpFrame::Delivery),
        request().prop_map(UpFrame::Request),
    ]
}

pub(crate) fn down_frame() -> impl Strategy<Value = DownFrame> {
    let offer = proptest::option::of(offer());
    let welcome = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>(), offer);
    prop_oneof![
        welcome.prop_map(|(server_time_ms, heartbeat, idle_timeout, max_frame, delivery)| {
            DownFrame::Welcome(Welcome {
                server_time_ms,
                heartbeat: Duration::from_secs(heartbeat),
                idle_timeout: Duration::from_secs(idle_timeout),
                max_frame,
                delivery,
            })
        }),
        (sequence(), term()).prop_map(|(sequence, term)| DownFrame::Message { sequence, term }),
        (sequence(), vec(any::<u8>(), 0..300))
            .prop_map(|(sequence, bytes)| DownFrame::Raw { sequence, bytes }),
        (token(), any::<u64>())
            .prop_map(|(token, expires_at)| DownFrame::Token(IssuedToken { token, expires_at })),
        any::<u64>().prop_map(DownFrame::Alive),
        delivery().prop_map(DownFrame::Delivery),
        request().prop_map(DownFrame::Request),
    ]
}

fn token() -> impl Strategy<Value = Token> {
    printable(1..Token::MAX_CHARS + 1).prop_filter_map("not a token", |text| Token::new(text).ok())
}

fn device_id() -> impl Strategy<Value = DeviceId> {
    printable(1..DeviceId::MAX_CHARS + 1).prop_filter_map("not a device id", |text| {
        DeviceId::new(text.replace(['/', '\\'], "-")).ok()
    })
}

fn printable(length: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    vec(33_u8..=126, length).prop_map(|bytes| bytes.into_iter().map(char::from).collect())
}

/// Credentials that fit into a header.
fn credentials() -> impl Strategy<Value = Credentials> {
    let value = prop_oneof![
        text().prop_map(Term::from),
        int().prop_map(Term::from),
        vec(any::<u8>(), 0..50).prop_map(Term::Bytes),
        vec(text().prop_map(Term::from), 0..3).prop_map(Term::List),
    ];
    vec((text(), value), 0..4).prop_map(|values| {
        values
            .into_iter()
            .fold(Credentials::new(), |credentials, (key, value)| credentials.with(key, value))
    })
}

pub(crate) fn auth_request() -> impl Strategy<Value = AuthRequest> {
    let proof =
        prop_oneof![token().prop_map(Proof::Token), credentials().prop_map(Proof::Credentials),];
    (device_id(), proof).prop_map(|(device_id, proof)| AuthRequest { device_id, proof })
}
