//! Inputs of any kind, in any order and at any time.

use std::time::Duration;

use fedecks_device_core::{DialError, LostReason, Network, Outcome, Phase};
use fedecks_protocol::{
    Ack, Capabilities, CloseCode, CloseReason, Content, DeliveryFrame, DeliveryOffer, Dialect,
    DownFrame, InstallationId, Kept, Lane, Limits, NoReplyReason, Refusal, RequestFrame, RequestId,
    Resume, Skip, SkipReason, StreamId, Tag, Term, UpFrame, Welcome,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::input::{Input, LinkInput, token};

/// Some inputs, a shutdown, and more inputs.
pub(crate) fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let after = prop::collection::vec(input(), 0..20);
    (inputs_without_end(), after).prop_map(|(mut inputs, after)| {
        inputs.push(Input::Shutdown);
        inputs.extend(after);
        inputs
    })
}

/// Some inputs, often after a token was loaded.
pub(crate) fn inputs_without_end() -> impl Strategy<Value = Vec<Input>> {
    let inputs = prop::collection::vec(input(), 0..120);
    (any::<bool>(), inputs).prop_map(|(has_token, mut inputs)| {
        if has_token {
            inputs.insert(0, Input::Loaded(Ok(Some(token(1)))));
        }
        inputs
    })
}

fn input() -> impl Strategy<Value = Input> {
    let attempt = prop_oneof![12 => Just(0), 1 => Just(-1), 1 => Just(1)];
    let network = select(vec![Network::Up, Network::Changed, Network::Down]);
    let loaded = prop_oneof![
        Just(Err("not mounted".into())),
        Just(Ok(None)),
        any::<u8>().prop_map(|number| Ok(Some(token(number)))),
    ];
    let stored = select(vec![Ok(()), Err("read-only".into())]);
    prop_oneof![
        4 => duration().prop_map(Input::Pass),
        4 => Just(Input::Timeout),
        12 => Just(Input::NextDeadline),
        3 => loaded.prop_map(Input::Loaded),
        4 => stored.prop_map(Input::Stored),
        // One in three is too long.
        5 => (select(vec![5, 5, 3_000, 5_000]), any::<bool>())
            .prop_map(|(size, has_nonce)| Input::Login(size, has_nonce)),
        3 => Just(Input::Nonce),
        1 => Just(Input::Logout),
        1 => Just(Input::Reconnect),
        4 => network.prop_map(Input::Network),
        31 => (attempt, link_input()).prop_map(|(attempt, input)| Input::From(attempt, input)),
        3 => (up_frame(), any::<bool>()).prop_map(|(frame, alive)| Input::Send(frame, alive)),
        3 => any::<bool>().prop_map(Input::Confirm),
        6 => keep(),
        8 => Just(Input::Writable),
        6 => select(vec![Outcome::Processed, Outcome::Rejected]).prop_map(Input::Acknowledge),
        4 => duration().prop_map(Input::Ask),
        3 => Just(Input::Reply),
    ]
}

fn keep() -> impl Strategy<Value = Input> {
    let expires_in = (1_u64..100).prop_map(Duration::from_secs);
    // Some exceed all memory that there is.
    (any::<bool>(), prop_oneof![9 => 0..2_000_usize, 1 => 0..10_000_usize], expires_in).prop_map(
        |(urgent, size, expires_in)| {
            let lane = if urgent { Lane::Urgent } else { Lane::Normal };
            Input::Keep { lane, size, expires_in }
        },
    )
}

fn link_input() -> impl Strategy<Value = LinkInput> {
    let phases = [Phase::Resolve, Phase::Tcp, Phase::Tls, Phase::Upgrade, Phase::Welcome];
    prop_oneof![
        3 => select(phases.to_vec()).prop_map(LinkInput::Phase),
        6 => dialed().prop_map(LinkInput::Dialed),
        10 => frame().prop_map(LinkInput::Frame),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(LinkInput::Bytes),
        1 => Just(LinkInput::Text),
        2 => Just(LinkInput::Traffic),
        1 => Just(LinkInput::Progress),
        3 => Just(LinkInput::Pong),
        3 => lost().prop_map(LinkInput::Lost),
    ]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0_u64..2_000).prop_map(Duration::from_millis),
        (0_u64..100_000).prop_map(Duration::from_millis),
        (0_u64..1_000_000).prop_map(Duration::from_secs),
    ]
}

fn retry_after() -> impl Strategy<Value = Option<Duration>> {
    prop::option::of((0_u64..10_000).prop_map(Duration::from_secs))
}

fn dialed() -> impl Strategy<Value = Result<(), DialError>> {
    prop_oneof![
        3 => Just(Ok(())),
        1 => Just(Err(DialError::Unreachable { phase: Phase::Tcp, error: "no route".into() })),
        2 => (select(Refusal::ALL.to_vec()), retry_after()).prop_map(
            |(refusal, retry_after)| Err(DialError::Refused { refusal, retry_after })
        ),
    ]
}

fn frame() -> impl Strategy<Value = DownFrame> {
    let max_frame = prop_oneof![any::<u32>(), 0_u32..3_000];
    let welcome = (0_u64..500, any::<u32>(), max_frame, offer()).prop_map(
        |(heartbeat, idle_timeout, max_frame, delivery)| Welcome {
            server_time_ms: 1,
            heartbeat: Duration::from_secs(heartbeat),
            idle_timeout: Duration::from_secs(idle_timeout.into()),
            max_frame,
            delivery,
        },
    );
    prop_oneof![
        5 => welcome.prop_map(DownFrame::Welcome),
        3 => any::<u8>().prop_map(|number| DownFrame::Token(token(number))),
        1 => Just(DownFrame::Message { sequence: None, term: Term::from("hello") }),
        1 => Just(DownFrame::Raw { sequence: None, bytes: vec![1, 2] }),
        8 => request().prop_map(DownFrame::Request),
        8 => delivery().prop_map(DownFrame::Delivery),
        2 => (0_u64..4).prop_map(DownFrame::Alive),
    ]
}

/// Mostly of the first of two installations.
fn offer() -> impl Strategy<Value = Option<DeliveryOffer>> {
    let installation = prop_oneof![9 => Just(1), 1 => Just(2)];
    let offer = (select(vec![1, 2, 3, 7, 7]), installation).prop_map(|(bits, installation)| {
        let installation = InstallationId([installation; 16]);
        DeliveryOffer { capabilities: Capabilities(bits), installation }
    });
    prop::option::weighted(0.8, offer)
}

/// Questions, and answers to what was perhaps asked.
fn request() -> impl Strategy<Value = RequestFrame> {
    let content = Dialect::Bincode.keep_term(&Term::from("hello"), &Limits::default());
    let (content, id) = (content.unwrap(), (1_u64..6).prop_map(RequestId));
    let reason = (0_u64..6).prop_map(NoReplyReason::from_number);
    (id, 0_u64..1_000_000, reason, 0..7).prop_map(move |(request, timeout_ms, reason, kind)| {
        let content = content.clone();
        match kind {
            0 => RequestFrame::Cancel { request },
            1 => RequestFrame::no_reply(request, reason, "because"),
            2 | 3 => RequestFrame::Reply { request, content },
            _ => RequestFrame::Request { request, timeout_ms, content },
        }
    })
}

/// Acknowledgements and kept messages that are possible, and some that are not.
fn delivery() -> impl Strategy<Value = DeliveryFrame> {
    let numbers = (1_u64..=2, 0_u64..6, 0_u64..2, 0_u64..100, 0_u64..10_000, any::<bool>());
    let ack = numbers.prop_map(|(handle, up_to, tag, credit_to, credit_bytes, rejects)| {
        let rejected = if rejects && up_to > 0 { vec![up_to] } else { Vec::new() };
        let tag = Tag(if up_to == 0 { 0 } else { tag });
        DeliveryFrame::Ack(Ack { handle, up_to, tag, credit_to, credit_bytes, rejected })
    });
    let inbound = (1_u64..=2, 1_u64..5, 0_u64..3).prop_map(|(handle, sequence, kind)| match kind {
        0 => DeliveryFrame::Resume(Resume {
            handle,
            lane: Lane::Normal,
            stream: StreamId([handle as u8; 16]),
            oldest: sequence,
            newest: sequence + 8,
        }),
        1 => {
            let (from, to, reason) = (sequence, sequence + 1, SkipReason::Expired);
            DeliveryFrame::Skip(Skip { handle, from, to, reason })
        }
        _ => {
            let (tag, content) = (Tag(sequence), Content::Raw(vec![7; 10]));
            let (sent_at_ms, redelivered) = (None, false);
            DeliveryFrame::Kept(Kept { handle, sequence, tag, sent_at_ms, redelivered, content })
        }
    });
    prop_oneof![
        8 => ack,
        12 => inbound,
        1 => (1_u64..=2, 0_u64..6).prop_map(|(handle, to)| DeliveryFrame::Rewind { handle, to }),
        1 => (1_u64..=2).prop_map(|handle| DeliveryFrame::Close { handle }),
    ]
}

fn lost() -> impl Strategy<Value = LostReason> {
    let codes = [1000, 1001, 1002, 1008, 1009, 1011, 1012, 1013, 4401, 4401, 4403, 4409, 4999];
    let code = select(codes.map(CloseCode::from).to_vec());
    prop_oneof![
        2 => (code, retry_after())
            .prop_map(|(code, retry_after)| LostReason::Closed(CloseReason { code, retry_after })),
        1 => Just(LostReason::Broken("reset".into())),
        1 => Just(LostReason::NoPong),
    ]
}

fn up_frame() -> impl Strategy<Value = UpFrame> {
    prop_oneof![
        (0_usize..5_000).prop_map(|size| UpFrame::Raw { sequence: None, bytes: vec![0; size] }),
        Just(UpFrame::TokenPlease),
        Just(UpFrame::Unknown { kind: 9 }),
    ]
}
