//! Requests in both directions on the current connection. None of them survives it.

use std::time::Duration;

use fedecks_delivery::{NoReply, RequestEvent, timeout_ms};
use fedecks_protocol::{
    Capabilities, EncodedTerm, NoReplyReason, RequestFrame, Term, UndecodableContent, UpFrame,
};

use super::session::Session;
use super::shared::Shared;
use crate::action::{Action, Notice, UnexpectedFrame};
use crate::question::{AskId, QuestionId, ReplyError, RequestError};
use crate::time::Time;
use crate::timers::Timer;

impl Session {
    pub(super) fn on_ask(
        &mut self,
        now: Time,
        id: AskId,
        content: EncodedTerm,
        timeout: Duration,
        cx: &mut Shared,
    ) {
        if !self.takes(Capabilities::REQUESTS) {
            return cx.out.answer_request(id, Err(RequestError::Unsupported));
        }
        if !cx.requests.has_room() {
            return cx.out.answer_request(id, Err(RequestError::Busy));
        }
        let request = cx.requests.ask(now.since_start(), id.0, timeout);
        let frame = RequestFrame::Request { request, timeout_ms: timeout_ms(timeout), content };
        match self.encode(&UpFrame::Request(frame), cx) {
            Ok(bytes) => self.transmit(now, bytes, None, cx),
            Err(error) => {
                cx.requests.cancel(id.0);
                cx.out.answer_request(id, Err(error.into()));
            }
        }
        arm(cx);
    }

    pub(super) fn on_cancel(&mut self, now: Time, id: AskId, cx: &mut Shared) {
        if let Some(request) = cx.requests.cancel(id.0) {
            self.transmit_request(now, RequestFrame::Cancel { request }, cx);
            arm(cx);
        }
    }

    pub(super) fn on_reply(
        &mut self,
        now: Time,
        question: QuestionId,
        answer: Result<&Term, NoReply>,
        cx: &mut Shared,
    ) -> Result<(), ReplyError> {
        let request = cx.requests.reply(question.0).ok_or(ReplyError::NotWaiting)?;
        arm(cx);
        let (answer, result) = match answer.map(|term| self.keep_term(term, cx)) {
            Ok(Ok(content)) => (RequestFrame::Reply { request, content }, Ok(())),
            Ok(Err(error)) => {
                let text = format!("cannot encode the answer: {error}");
                let frame = RequestFrame::no_reply(request, NoReplyReason::Failed, &text);
                (frame, Err(error.into()))
            }
            Err(NoReply { reason, text, .. }) => {
                (RequestFrame::no_reply(request, reason, &text), Ok(()))
            }
        };
        self.transmit_request(now, answer, cx);
        result
    }

    pub(super) fn on_request_frame(&mut self, now: Time, frame: RequestFrame, cx: &mut Shared) {
        if !self.takes(Capabilities::REQUESTS) {
            return cx.log(Notice::UnexpectedFrame(UnexpectedFrame::Request));
        }
        let event = cx.requests.on_frame(now.since_start(), frame);
        self.on_request_event(now, event, cx);
    }

    pub(super) fn on_undecodable(
        &mut self,
        now: Time,
        content: UndecodableContent,
        cx: &mut Shared,
    ) {
        if self.takes(Capabilities::REQUESTS) {
            let event = cx.requests.on_undecodable(content);
            self.on_request_event(now, event, cx);
        }
    }

    fn on_request_event(&mut self, now: Time, event: RequestEvent, cx: &mut Shared) {
        match event {
            RequestEvent::Nothing => return,
            RequestEvent::Question { key, content, timeout } => {
                let question = QuestionId(key);
                cx.out.push(Action::DeliverRequest { question, content, timeout });
            }
            RequestEvent::Refuse(frame) => self.transmit_request(now, frame, cx),
            RequestEvent::Answered { key, answer } => {
                cx.out.answer_request(AskId(key), answer.map_err(RequestError::NoReply));
            }
            RequestEvent::Cancelled { key } => {
                cx.out.push(Action::CancelRequest { question: QuestionId(key) });
            }
        }
        arm(cx);
    }

    pub(super) fn on_requests_overdue(&mut self, now: Time, cx: &mut Shared) {
        let overdue = cx.requests.take_overdue(now.since_start());
        for (key, request) in overdue.asked {
            cx.out.answer_request(AskId(key), Err(RequestError::TimedOut));
            self.transmit_request(now, RequestFrame::Cancel { request }, cx);
        }
        for key in overdue.questions {
            cx.out.push(Action::CancelRequest { question: QuestionId(key) });
        }
        arm(cx);
    }

    fn transmit_request(&mut self, now: Time, frame: RequestFrame, cx: &mut Shared) {
        self.transmit_frame(now, &UpFrame::Request(frame), cx);
    }
}

fn arm(cx: &mut Shared) {
    match cx.requests.deadline() {
        Some(at) => cx.out.timers.set(Timer::Request, Time::new(at)),
        None => cx.out.timers.stop(Timer::Request),
    }
}
