use crate::machine::*;

/// With the smallest sequence number.
const NUMBERED: Sequence = Sequence(std::num::NonZeroU64::MIN);

fn raw(size: usize) -> UpFrame {
    UpFrame::Raw { sequence: None, bytes: vec![0; size] }
}

fn expected_frames() -> [DownFrame; 2] {
    [
        DownFrame::Message { sequence: None, term: Term::from("hello") },
        DownFrame::Raw { sequence: Some(NUMBERED), bytes: vec![1, 2, 3] },
    ]
}

fn unexpected_frames() -> [(DownFrame, UnexpectedFrame); 3] {
    let request = DownFrame::Request(RequestFrame::Cancel { request: RequestId(7) });
    [
        (DownFrame::Delivery(DeliveryFrame::Close { handle: 1 }), UnexpectedFrame::Kept),
        (request, UnexpectedFrame::Request),
        (DownFrame::Welcome(welcome()), UnexpectedFrame::Welcome),
    ]
}

#[test]
fn the_welcome_establishes_the_connection() {
    let mut it = Machine::dialing();
    it.dialed(1, Ok(())).expect([]);
    it.frame(1, &DownFrame::Welcome(welcome())).expect(connected()).expect_state(State::Connected);
}

#[test]
fn a_first_frame_that_is_not_a_welcome_ends_the_attempt() {
    let unexpected = unexpected_frames().map(|(frame, _)| frame);
    for frame in expected_frames().into_iter().chain(unexpected.into_iter().take(2)) {
        let mut it = Machine::dialing();
        it.dialed(1, Ok(())).frame(1, &frame);
        let closed = disconnect(1, CloseCode::ProtocolError);
        it.expect_wait([closed, failed(FailReason::NoWelcome)], FIRST_BACKOFF);
        it.expect_token(Some("stored"));
    }
}

#[test]
fn unknown_frames_are_ignored_before_the_welcome() {
    let mut it = Machine::dialing();
    it.dialed(1, Ok(())).bytes(1, &[0x7f, 1, 2]).bytes(1, &[]).text(1, 5).traffic(1);
    it.expect([
        log(Notice::UnknownFrame { kind: 0x7f }),
        log(Notice::BadFrame { size: 0, error: DecodeError::Truncated }),
    ]);
    it.frame(1, &DownFrame::Welcome(welcome())).expect(connected());
}

#[test]
fn messages_reach_the_application() {
    let mut it = Machine::connected();
    let [message, raw] = expected_frames();
    it.frame(1, &message).frame(1, &raw);
    it.expect([emit(Event::Message(Term::from("hello"))), emit(Event::RawMessage(vec![1, 2, 3]))]);
}

#[test]
fn frames_that_are_not_expected_are_logged_and_ignored() {
    for (frame, kind) in unexpected_frames() {
        let mut it = Machine::connected();
        it.frame(1, &frame).expect([log(Notice::UnexpectedFrame(kind))]);
        it.expect_state(State::Connected);
    }
}

#[test]
fn bytes_that_are_not_a_frame_are_logged_and_ignored() {
    let limit = Limits::default().max_size;
    let mut it = Machine::connected();
    for (bytes, error) in [
        (vec![], DecodeError::Truncated),
        (vec![0x01, 0, 99], DecodeError::UnknownTerm(99)),
        (vec![2; limit + 1], DecodeError::TooBig { size: limit + 1, limit }),
    ] {
        it.bytes(1, &bytes).expect([log(Notice::BadFrame { size: bytes.len(), error })]);
    }
    it.bytes(1, &[0x7f, 9, 9]).expect([log(Notice::UnknownFrame { kind: 0x7f })]);
    it.text(1, 12).expect([log(Notice::TextMessage { size: 12 })]).expect_state(State::Connected);
}

#[test]
fn a_refreshed_token_is_stored_and_used() {
    let mut it = Machine::connected();
    it.issued(1, "new").expect([store("new")]);
    it.stored().expect([]);
    it.broken(1).discard_outputs().expect_dial_after_wait(2, by_token("new"));
}

#[test]
fn a_frame_is_sent_as_the_dialect_encodes_it() {
    let mut it = Machine::connected();
    for frame in [message("hello"), UpFrame::Raw { sequence: None, bytes: vec![1] }] {
        it.expect_sent(&frame);
    }
}

#[test]
fn a_frame_that_a_dead_link_does_not_accept_is_given_back() {
    let mut it = Machine::connected();
    let frame = message("hello");
    assert_eq!(it.send_over(false, &frame), Err(SendError::NotConnected));
    it.expect([transmit(1, &frame)]);
    // What the cloud has said before that may still be read.
    it.expect_state(State::Connected);
    let revoked = CloseReason::new(CloseCode::Revoked);
    it.closed(1, revoked);
    it.expect([forget(), lost(LostReason::Closed(revoked)), emit(Event::Unregistered)]);
}

#[test]
fn a_frame_is_not_sent_without_a_connection() {
    let others = [Machine::new, Machine::unregistered, Machine::dialing, Machine::logging_in];
    let waits = [Machine::backing_off, Machine::rejected, Machine::shut_down];
    for mut it in others.into_iter().chain(waits).map(|make| make()) {
        it.drain();
        assert_eq!(it.send(&message("hello")), Err(SendError::NotConnected));
        it.expect([]);
    }
}

#[test]
fn a_frame_beyond_a_limit_is_not_sent() {
    let Limits { max_size, max_depth, .. } = Limits::default();
    let limit = Limits::CLOUD_DECODED;
    let heavy = Term::List(vec![Term::Nil; limit / 32]);
    let heavy = UpFrame::Message { sequence: None, term: heavy };
    let deep = (0..max_depth).fold(Term::Nil, |term, _| Term::List(vec![term]));
    let deep = UpFrame::Message { sequence: None, term: deep };
    let too_big = |size, limit| EncodeError::TooBig { size, limit };
    // The cloud's limit, which does not raise the device's own.
    for (max_frame, frame, error) in [
        (99, raw(98), too_big(100, 99)),
        (u32::MAX, raw(max_size), too_big(max_size + 2, max_size)),
        (65_536, deep, EncodeError::TooDeep { limit: max_depth }),
        (u32::MAX, heavy, EncodeError::TooHeavy { weight: limit + 48, limit }),
    ] {
        let mut it = Machine::connected_with(Welcome { max_frame, ..welcome() });
        assert_eq!(it.send(&frame), Err(SendError::Encode(error)));
        it.expect([]);
    }
    Machine::connected_with(Welcome { max_frame: 100, ..welcome() }).expect_sent(&raw(98));
}

#[test]
fn a_frame_that_is_not_sent_does_not_postpone_the_ping() {
    let mut it = Machine::connected_with(Welcome { max_frame: 10, ..welcome() });
    it.run_for(secs(10));
    assert!(it.send(&raw(98)).is_err());
    it.traffic(1).keep_deadline_in(secs(9)).expect([ping(1)]);
}

#[test]
fn a_second_welcome_changes_nothing() {
    let mut it = Machine::connected();
    let changed = Welcome { heartbeat: secs(1), max_frame: 1, ..welcome() };
    it.frame(1, &DownFrame::Welcome(changed));
    it.expect([log(Notice::UnexpectedFrame(UnexpectedFrame::Welcome))]);
    it.expect_sent(&message("hello")).keep_deadline_in(secs(19));
}
