use fedecks_device_core::{
    Attempt, Event, FailReason, LostReason, Notice, SendError, State, UnusedFrame,
};
use fedecks_protocol::{
    CloseCode, CloseReason, DecodeError, Dialect, DownFrame, EncodeError, Limits, RequestId,
    Sequence, Term, UpFrame, Welcome,
};

use crate::machine::*;

#[test]
fn the_welcome_makes_the_connection() {
    let mut it = Machine::dialing();
    it.core.handle_dialed(it.now, Attempt(1), Ok(()));
    it.expect([]);
    it.frame(1, &DownFrame::Welcome(welcome()));
    it.expect(connected());
    assert_eq!(it.core.state(), State::Connected);
}

#[test]
fn a_first_frame_that_is_no_welcome_ends_the_attempt() {
    for frame in used_frames().into_iter().chain(unused_frames().map(|(frame, _)| frame)) {
        if matches!(frame, DownFrame::Welcome(_)) {
            continue;
        }
        let mut it = Machine::dialing();
        it.core.handle_dialed(it.now, Attempt(1), Ok(()));
        it.frame(1, &frame);
        it.expect_wait(
            [disconnect(1, CloseCode::ProtocolError), failed(FailReason::NoWelcome)],
            FIRST_BACKOFF,
        );
        assert_eq!(it.held_token(), Some("stored"));
    }
}

#[test]
fn what_is_no_known_frame_may_come_before_the_welcome() {
    let mut it = Machine::dialing();
    it.core.handle_dialed(it.now, Attempt(1), Ok(()));
    it.core.handle_message(it.now, Attempt(1), &[0x7f, 1, 2]);
    it.core.handle_message(it.now, Attempt(1), &[]);
    it.core.handle_text(it.now, Attempt(1), 5);
    it.core.handle_traffic(it.now, Attempt(1));
    it.expect([
        log(Notice::UnknownFrame { kind: 0x7f }),
        log(Notice::BadFrame { size: 0, error: DecodeError::Truncated }),
    ]);
    it.frame(1, &DownFrame::Welcome(welcome()));
    it.expect(connected());
}

#[test]
fn messages_reach_the_application() {
    let mut it = Machine::connected();
    let [message, raw] = used_frames();
    it.frame(1, &message);
    it.frame(1, &raw);
    it.expect([emit(Event::Message(Term::from("hello"))), emit(Event::RawMessage(vec![1, 2, 3]))]);
}

#[test]
fn frames_without_a_use_are_logged_and_ignored() {
    for (frame, kind) in unused_frames() {
        let mut it = Machine::connected();
        it.frame(1, &frame);
        it.expect([log(Notice::UnusedFrame(kind))]);
        assert_eq!(it.core.state(), State::Connected);
    }
}

#[test]
fn what_is_no_frame_is_logged_and_ignored() {
    let mut it = Machine::connected();
    it.core.handle_message(it.now, Attempt(1), &[0x7f, 9, 9]);
    it.expect([log(Notice::UnknownFrame { kind: 0x7f })]);
    it.core.handle_message(it.now, Attempt(1), &[]);
    it.expect([log(Notice::BadFrame { size: 0, error: DecodeError::Truncated })]);
    it.core.handle_message(it.now, Attempt(1), &[0x01, 0, 99]);
    it.expect([log(Notice::BadFrame { size: 3, error: DecodeError::UnknownTerm(99) })]);
    it.core.handle_text(it.now, Attempt(1), 12);
    it.expect([log(Notice::TextMessage { size: 12 })]);
    assert_eq!(it.core.state(), State::Connected);
}

#[test]
fn a_frame_beyond_the_devices_limit_is_logged_and_ignored() {
    let mut it = Machine::connected();
    let limit = Limits::default().max_size;
    it.core.handle_message(it.now, Attempt(1), &vec![2; limit + 1]);
    let error = DecodeError::TooBig { size: limit + 1, limit };
    it.expect([log(Notice::BadFrame { size: limit + 1, error })]);
}

#[test]
fn a_refreshed_token_goes_to_the_store_and_answers_nobody() {
    let mut it = Machine::connected();
    it.frame(1, &DownFrame::Token(token("new")));
    it.expect([store("new")]);
    it.stored();
    it.expect([]);
    it.broken(1);
    it.drain();
    it.expect_dial_after_wait(2, by_token("new"));
}

#[test]
fn a_frame_is_sent_as_the_dialect_has_it() {
    let mut it = Machine::connected();
    for frame in [message("hello"), UpFrame::Raw { sequence: None, bytes: vec![1] }] {
        assert_eq!(it.send(&frame), Ok(()));
        it.expect([transmit(1, &frame)]);
    }
}

#[test]
fn a_frame_into_a_link_that_is_found_dead_is_given_back() {
    let mut it = Machine::connected();
    let frame = message("hello");
    assert_eq!(it.send_over(false, &frame), Err(SendError::NotConnected));
    it.expect([transmit(1, &frame)]);
    // What the cloud said before that may still be read.
    assert_eq!(it.core.state(), State::Connected);
    it.closed(1, CloseReason::new(CloseCode::Revoked));
    it.expect([
        forget(),
        lost(LostReason::Closed(CloseReason::new(CloseCode::Revoked))),
        emit(Event::Unregistered),
    ]);
}

#[test]
fn nothing_is_sent_without_a_connection() {
    let mut closed = Machine::connected();
    closed.core.handle_shutdown();
    closed.drain();
    let others = [Machine::new, Machine::unregistered, Machine::dialing, Machine::logging_in];
    let waits = [Machine::backing_off, Machine::set_aside];
    for mut it in others.into_iter().chain(waits).map(|make| make()).chain([closed]) {
        it.drain();
        assert_eq!(it.send(&message("hello")), Err(SendError::NotConnected));
        it.expect([]);
    }
}

#[test]
fn a_frame_beyond_the_clouds_limit_is_not_sent() {
    let frame = UpFrame::Raw { sequence: None, bytes: vec![0; 98] };
    let mut it = Machine::connected_with(Welcome { max_frame: 100, ..welcome() });
    assert_eq!(it.send(&frame), Ok(()));
    it.expect([transmit(1, &frame)]);
    let mut it = Machine::connected_with(Welcome { max_frame: 99, ..welcome() });
    assert_eq!(
        it.send(&frame),
        Err(SendError::Unfit(EncodeError::TooBig { size: 100, limit: 99 }))
    );
    it.expect([]);
}

#[test]
fn a_cloud_with_a_bigger_limit_does_not_raise_the_devices_own() {
    let limit = Limits::default().max_size;
    let mut it = Machine::connected_with(Welcome { max_frame: u32::MAX, ..welcome() });
    let frame = UpFrame::Raw { sequence: None, bytes: vec![0; limit] };
    assert_eq!(
        it.send(&frame),
        Err(SendError::Unfit(EncodeError::TooBig { size: limit + 2, limit }))
    );
    it.expect([]);
}

#[test]
fn a_term_that_is_too_deep_is_not_sent() {
    let limit = Limits::default().max_depth;
    let deep = (0..limit).fold(Term::Nil, |term, _| Term::List(vec![term]));
    let mut it = Machine::connected();
    let frame = UpFrame::Message { sequence: None, term: deep };
    assert_eq!(it.send(&frame), Err(SendError::Unfit(EncodeError::TooDeep { limit })));
    it.expect([]);
}

#[test]
fn a_frame_that_was_not_sent_does_not_count_as_sent() {
    let mut it = Machine::connected_with(Welcome { max_frame: 10, ..welcome() });
    it.run_for(secs(10));
    let frame = UpFrame::Raw { sequence: None, bytes: vec![0; 98] };
    assert!(it.send(&frame).is_err());
    it.core.handle_traffic(it.now, Attempt(1));
    assert_eq!(it.keep_next_deadline(), secs(9));
    it.expect([ping(1)]);
}

fn used_frames() -> [DownFrame; 2] {
    let sequence = Some(Sequence(std::num::NonZeroU64::MIN));
    [
        DownFrame::Message { sequence: None, term: Term::from("hello") },
        DownFrame::Raw { sequence, bytes: vec![1, 2, 3] },
    ]
}

fn unused_frames() -> impl Iterator<Item = (DownFrame, UnusedFrame)> {
    let request = DownFrame::Request { request: RequestId(7), term: Term::Nil };
    [
        (DownFrame::Welcome(welcome()), UnusedFrame::Welcome),
        (DownFrame::Ack(Sequence(std::num::NonZeroU64::MIN)), UnusedFrame::Ack),
        (request, UnusedFrame::Request),
    ]
    .into_iter()
}

#[test]
fn a_second_welcome_changes_nothing() {
    let mut it = Machine::connected();
    let changed = Welcome { heartbeat: secs(1), max_frame: 1, ..welcome() };
    let bytes = Dialect::Bincode.encode_down(&DownFrame::Welcome(changed), &Limits::default());
    it.core.handle_message(it.now, Attempt(1), &bytes.unwrap());
    it.expect([log(Notice::UnusedFrame(UnusedFrame::Welcome))]);
    assert_eq!(it.send(&message("hello")), Ok(()));
    it.drain();
    assert_eq!(it.keep_next_deadline(), secs(19));
}
