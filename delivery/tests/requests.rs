//! Requests of both ends: numbers, bounds, deadlines, and answers that come too late.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test helpers, which clippy does not recognize as tests"
)]

use std::time::Duration;

use fedecks_delivery::{
    MAX_REQUEST_BYTES, MAX_REQUEST_TIMEOUT, MAX_REQUESTS, NoReply, Overdue, RequestEvent, Requests,
    timeout_ms,
};
use fedecks_protocol::{
    Dialect, EncodedTerm, Limits, NoReplyReason, RequestFrame, RequestId, Term, UndecodableContent,
};

const NOW: Duration = Duration::from_secs(1_000);
const SECOND: Duration = Duration::from_secs(1);

fn content(size: usize) -> EncodedTerm {
    let term = Term::Bytes(vec![0; size]);
    let limits = Limits { max_size: 10 * MAX_REQUEST_BYTES, max_decoded: usize::MAX, max_depth: 9 };
    Dialect::Bincode.keep_term(&term, &limits).unwrap()
}

fn request(number: u64, timeout_ms: u64, size: usize) -> RequestFrame {
    RequestFrame::Request { request: RequestId(number), timeout_ms, content: content(size) }
}

fn busy(number: u64) -> RequestEvent {
    RequestEvent::Refuse(RequestFrame::no_reply(RequestId(number), NoReplyReason::Busy, ""))
}

/// The key of a question that is taken.
fn key(event: &RequestEvent) -> u64 {
    let RequestEvent::Question { key, .. } = event else { panic!("not a question: {event:?}") };
    *key
}

#[test]
fn an_answer_finds_its_request_once() {
    let mut it = Requests::default();
    let first = it.ask(NOW, 7, SECOND);
    let second = it.ask(NOW, 8, SECOND);
    assert_ne!(first, second);
    let reply = RequestFrame::Reply { request: second, content: content(1) };
    let answered = RequestEvent::Answered { key: 8, answer: Ok(content(1)) };
    assert_eq!(it.on_frame(NOW, reply.clone()), answered);
    assert_eq!(it.on_frame(NOW, reply), RequestEvent::Nothing);
    let none = RequestFrame::no_reply(first, NoReplyReason::Failed, "no");
    let answer = Err(NoReply::new(NoReplyReason::Failed, "no"));
    assert_eq!(it.on_frame(NOW, none), RequestEvent::Answered { key: 7, answer });
    assert_eq!(it.deadline(), None);
}

#[test]
fn sixteen_are_under_way_in_each_direction() {
    let mut it = Requests::default();
    for number in 1..=16 {
        assert!(it.has_room());
        it.ask(NOW, number, SECOND);
        key(&it.on_frame(NOW, request(number, 1_000, 1)));
    }
    assert_eq!(MAX_REQUESTS, 16);
    assert!(!it.has_room() && !it.is_idle());
    assert_eq!(it.on_frame(NOW, request(17, 1_000, 1)), busy(17));
    assert_eq!(it.cancel(3), Some(RequestId(3)));
    assert!(it.has_room());
    assert_eq!(it.cancel(3), None);
    assert_eq!(it.reply(3), Some(RequestId(3)));
    assert_eq!(it.reply(3), None);
    assert_eq!(key(&it.on_frame(NOW, request(18, 1_000, 1))), 17);
}

#[test]
fn what_is_idle_can_be_continued() {
    let mut it = Requests::default();
    it.ask(NOW, 1, SECOND);
    it.take_all();
    assert!(it.is_idle());
    let mut again = Requests::continued(it.last_asked());
    assert_eq!(again.ask(NOW, 1, SECOND), RequestId(2));
}

#[test]
fn questions_are_bounded_in_bytes_except_for_a_single_one() {
    let mut it = Requests::default();
    let first = key(&it.on_frame(NOW, request(1, 1_000, 2 * MAX_REQUEST_BYTES)));
    assert_eq!(it.on_frame(NOW, request(2, 1_000, 0)), busy(2));
    assert_eq!(it.reply(first), Some(RequestId(1)));
    key(&it.on_frame(NOW, request(3, 1_000, MAX_REQUEST_BYTES / 2)));
    assert_eq!(it.on_frame(NOW, request(4, 1_000, MAX_REQUEST_BYTES / 2)), busy(4));
    key(&it.on_frame(NOW, request(5, 1_000, MAX_REQUEST_BYTES / 3)));
}

#[test]
fn a_number_that_is_under_way_is_ignored() {
    let mut it = Requests::default();
    let first = key(&it.on_frame(NOW, request(1, 1_000, 1)));
    assert_eq!(it.on_frame(NOW, request(1, 1_000, 1)), RequestEvent::Nothing);
    let again = UndecodableContent::Request(RequestId(1));
    assert_eq!(it.on_undecodable(again), RequestEvent::Nothing);
    let cancel = RequestFrame::Cancel { request: RequestId(1) };
    assert_eq!(it.on_frame(NOW, cancel.clone()), RequestEvent::Cancelled { key: first });
    assert_eq!(it.on_frame(NOW, cancel), RequestEvent::Nothing);
    assert_eq!(it.reply(first), None, "the answer is too late");
}

#[test]
fn what_cannot_be_decoded_is_answered() {
    let mut it = Requests::default();
    let refused = it.on_undecodable(UndecodableContent::Request(RequestId(4)));
    let frame = RequestFrame::no_reply(RequestId(4), NoReplyReason::Undecodable, "");
    assert_eq!(refused, RequestEvent::Refuse(frame));
    let asked = it.ask(NOW, 1, SECOND);
    let RequestEvent::Answered { key: 1, answer: Err(error) } =
        it.on_undecodable(UndecodableContent::Reply(asked))
    else {
        panic!("not answered");
    };
    assert_eq!(error.reason, NoReplyReason::Undecodable);
    assert_eq!(error.to_string(), "undecodable: the answer cannot be decoded");
    assert_eq!(it.on_undecodable(UndecodableContent::Reply(asked)), RequestEvent::Nothing);
}

#[test]
fn each_has_its_deadline() {
    let mut it = Requests::default();
    let asked = it.ask(NOW, 1, 3 * SECOND);
    let question = key(&it.on_frame(NOW, request(9, 2_000, 1)));
    let endless = it.ask(NOW, 2, Duration::MAX);
    assert_eq!(it.deadline(), Some(NOW + 2 * SECOND));
    assert_eq!(it.take_overdue(NOW + SECOND), Overdue::default());
    let overdue = it.take_overdue(NOW + 2 * SECOND);
    assert_eq!(overdue, Overdue { asked: vec![], questions: vec![question] });
    let overdue = it.take_overdue(NOW + 3 * SECOND);
    assert_eq!(overdue, Overdue { asked: vec![(1, asked)], questions: vec![] });
    assert_eq!(it.deadline(), Some(NOW + MAX_REQUEST_TIMEOUT));
    key(&it.on_frame(NOW, request(10, 0, 1)));
    assert_eq!(it.deadline(), Some(NOW + Duration::from_millis(1)));
    let all = it.take_all();
    assert_eq!((all.asked, all.questions), (vec![(2, endless)], vec![2]));
    assert_eq!(it.deadline(), None);
    assert_eq!(timeout_ms(Duration::MAX), 600_000);
    assert_eq!(timeout_ms(Duration::ZERO), 1);
}
