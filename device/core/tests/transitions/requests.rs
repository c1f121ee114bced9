//! Requests in both directions.

use crate::machine::*;

const ASK: AskId = AskId(7);

fn connected_to(capabilities: Capabilities) -> Machine {
    let installation = InstallationId([0; 16]);
    let delivery = Some(DeliveryOffer { capabilities, installation });
    Machine::connected_with(Welcome { delivery, ..welcome() })
}

fn machine() -> Machine {
    connected_to(Capabilities::REQUESTS)
}

fn term(text: &str) -> EncodedTerm {
    Dialect::Bincode.keep_term(&Term::from(text), &Limits::default()).unwrap()
}

fn asks(number: u64, timeout_ms: u64, text: &str) -> RequestFrame {
    RequestFrame::Request { request: RequestId(number), timeout_ms, content: term(text) }
}

fn replies(number: u64, text: &str) -> RequestFrame {
    RequestFrame::Reply { request: RequestId(number), content: term(text) }
}

fn cancels(number: u64) -> RequestFrame {
    RequestFrame::Cancel { request: RequestId(number) }
}

fn refuses(number: u64, reason: NoReplyReason) -> RequestFrame {
    RequestFrame::no_reply(RequestId(number), reason, "")
}

/// A frame without a message of the application.
fn sends(frame: RequestFrame) -> Output {
    let bytes = Dialect::Bincode.encode_up(&UpFrame::Request(frame), &Limits::default()).unwrap();
    let message = Outgoing::Frame(bytes);
    Output::Other(Action::Transmit { attempt: Attempt(1), message, send: None })
}

fn answers(result: Result<EncodedTerm, RequestError>) -> Output {
    Output::Other(Action::AnswerRequest { id: ASK, result })
}

fn delivers(key: u64, text: &str, timeout: Duration) -> Output {
    let question = QuestionId(key);
    Output::Other(Action::DeliverRequest { question, content: term(text), timeout })
}

fn cancelled(key: u64) -> Output {
    Output::Other(Action::CancelRequest { question: QuestionId(key) })
}

impl Machine {
    fn ask(&mut self, text: &str, timeout: Duration) -> &mut Self {
        self.give(|core, now| core.handle_request(now, ASK, &Term::from(text), timeout))
    }

    fn reply(&mut self, key: u64, text: &str) -> Result<(), ReplyError> {
        self.core.handle_reply(self.now, QuestionId(key), Ok(&Term::from(text)))
    }

    fn request(&mut self, frame: RequestFrame) -> &mut Self {
        self.frame(1, &DownFrame::Request(frame))
    }
}

#[test]
fn the_device_says_that_it_answers_requests() {
    let mut it = Machine::dialing();
    let (capabilities, installation) = (Capabilities(0), InstallationId([0; 16]));
    let delivery = Some(DeliveryOffer { capabilities, installation });
    it.dialed(1, Ok(())).frame(1, &DownFrame::Welcome(Welcome { delivery, ..welcome() }));
    let hello = UpFrame::Hello(Capabilities::ALL);
    let bytes = Dialect::Bincode.encode_up(&hello, &Limits::default()).unwrap();
    let (attempt, message) = (Attempt(1), Outgoing::Frame(bytes));
    assert!(it.drain().contains(&Output::Other(Action::Transmit { attempt, message, send: None })));
}

#[test]
fn the_cloud_answers() {
    let mut it = machine();
    it.ask("time?", secs(30)).expect([sends(asks(1, 30_000, "time?"))]);
    it.request(replies(1, "noon")).expect([answers(Ok(term("noon")))]);
    it.request(replies(1, "again")).expect([]);
    it.ask("time?", secs(30)).expect([sends(asks(2, 30_000, "time?"))]);
    let refused = NoReply::new(NoReplyReason::Unhandled, "");
    it.request(refuses(2, NoReplyReason::Unhandled));
    it.expect([answers(Err(RequestError::NoReply(refused)))]);
}

#[test]
fn without_a_connection_or_a_cloud_that_answers_nothing_is_sent() {
    for mut it in [Machine::unregistered(), Machine::backing_off(), Machine::dialing()] {
        it.ask("time?", secs(30)).expect([answers(Err(RequestError::NotConnected))]);
    }
    for mut it in [Machine::connected(), connected_to(Capabilities::KEEP_ALIVE)] {
        it.ask("time?", secs(30)).expect([answers(Err(RequestError::Unsupported))]);
        it.request(asks(1, 1_000, "?"));
        it.expect([log(Notice::UnexpectedFrame(UnexpectedFrame::Request))]);
    }
}

#[test]
fn a_request_that_times_out_is_cancelled() {
    let mut it = machine();
    it.ask("time?", secs(5)).discard_outputs();
    it.wake_after(millis(4_999)).expect([]);
    it.wake_after(millis(1));
    it.expect([answers(Err(RequestError::TimedOut)), sends(cancels(1))]);
    it.request(replies(1, "too late")).expect([]);
}

#[test]
fn a_request_that_nobody_waits_for_is_cancelled() {
    let mut it = machine();
    it.ask("time?", secs(5)).discard_outputs();
    it.give(|core, now| core.handle_cancel(now, ASK)).expect([sends(cancels(1))]);
    it.give(|core, now| core.handle_cancel(now, ASK)).expect([]);
    it.wake_after(secs(6)).expect([]);
}

#[test]
fn more_than_sixteen_are_not_sent() {
    let mut it = machine();
    for _ in 0..16 {
        it.ask("time?", secs(5)).discard_outputs();
    }
    it.ask("time?", secs(5)).expect([answers(Err(RequestError::Busy))]);
}

#[test]
fn what_is_too_big_is_not_sent() {
    let mut it = machine();
    let big = "x".repeat(70_000);
    it.ask(&big, secs(5));
    let (size, limit) = (70_011, 65_536);
    it.expect([answers(Err(EncodeError::TooBig { size, limit }.into()))]);
    it.request(asks(1, 1_000, "?")).discard_outputs();
    let (size, limit) = (70_006, 65_526);
    let result = it.reply(1, &big);
    assert_eq!(result, Err(ReplyError::Encode(EncodeError::TooBig { size, limit })));
    let text = "cannot encode the answer: 70006 bytes exceed the limit of 65526";
    it.expect([sends(RequestFrame::no_reply(RequestId(1), NoReplyReason::Failed, text))]);
}

#[test]
fn the_application_answers() {
    let mut it = machine();
    it.request(asks(40, 1_000, "led?")).expect([delivers(1, "led?", secs(1))]);
    assert_eq!(it.reply(1, "on"), Ok(()));
    it.expect([sends(replies(40, "on"))]);
    assert_eq!(it.reply(1, "again"), Err(ReplyError::NotWaiting));
    it.request(asks(41, 1_000, "led?")).discard_outputs();
    let failed = NoReply::new(NoReplyReason::Failed, "broken");
    let result = it.core.handle_reply(it.now, QuestionId(2), Err(failed));
    assert_eq!(result, Ok(()));
    it.expect([sends(RequestFrame::no_reply(RequestId(41), NoReplyReason::Failed, "broken"))]);
}

#[test]
fn a_question_is_cancelled_by_the_cloud_and_by_time() {
    let mut it = machine();
    it.request(asks(1, 9_000, "a")).request(asks(2, 2_000, "b")).discard_outputs();
    it.request(cancels(1)).expect([cancelled(1)]);
    it.wake_after(secs(2)).expect([cancelled(2)]);
    for key in [1, 2] {
        assert_eq!(it.reply(key, "late"), Err(ReplyError::NotWaiting));
    }
    it.expect([]);
}

#[test]
fn a_question_that_cannot_be_decoded_is_answered() {
    let mut it = machine();
    it.bytes(1, &[0x06, 9, 250, 0x0b]);
    let notice = Notice::BadFrame { size: 4, error: DecodeError::UnknownTerm(11) };
    it.expect([log(notice), sends(refuses(9, NoReplyReason::Undecodable))]);
}

#[test]
fn nothing_survives_the_connection() {
    let ends: [fn(&mut Machine) -> &mut Machine; 4] = [
        |it| it.broken(1),
        Machine::shutdown,
        |it| it.login(1),
        |it| it.pass(secs(300)).give(Connection::handle_timeout),
    ];
    for end in ends {
        let mut it = machine();
        it.ask("time?", secs(600)).request(asks(1, 600_000, "led?")).discard_outputs();
        end(&mut it);
        let outputs = it.drain();
        assert!(outputs.contains(&answers(Err(RequestError::OutcomeUnknown))), "{outputs:?}");
        assert!(outputs.contains(&cancelled(1)), "{outputs:?}");
        assert_eq!(it.reply(1, "on"), Err(ReplyError::NotWaiting));
    }
}

#[test]
fn the_next_connection_has_other_numbers() {
    let mut it = machine();
    it.request(asks(1, 600_000, "led?")).broken(1).keep_next_deadline().discard_outputs();
    let (capabilities, installation) = (Capabilities::REQUESTS, InstallationId([0; 16]));
    let delivery = Some(DeliveryOffer { capabilities, installation });
    it.dialed(2, Ok(())).frame(2, &DownFrame::Welcome(Welcome { delivery, ..welcome() }));
    it.discard_outputs();
    it.frame(2, &DownFrame::Request(asks(1, 1_000, "led?")));
    it.expect([delivers(2, "led?", secs(1))]);
    assert_eq!(it.reply(1, "of the earlier one"), Err(ReplyError::NotWaiting));
}
