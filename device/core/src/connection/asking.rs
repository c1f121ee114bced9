//! The inputs of [`Connection`] for requests in both directions.

use std::time::Duration;

use fedecks_delivery::NoReply;
use fedecks_protocol::{Limits, Term};

use super::{Connection, Link};
use crate::question::{AskId, QuestionId, ReplyError, RequestError};
use crate::time::Time;

impl Connection {
    /// Asks the cloud. [`Action::AnswerRequest`](crate::Action::AnswerRequest) follows: immediately if this cannot be
    /// sent, otherwise when the cloud has answered, the time is over or the connection is lost.
    pub fn handle_request(&mut self, now: Time, id: AskId, question: &Term, timeout: Duration) {
        self.check_suspend(now);
        let Link::Connected(it) = &mut self.link else {
            return self.shared.out.answer_request(id, Err(RequestError::NotConnected));
        };
        let config = &self.shared.config;
        let limits = Limits { max_decoded: Limits::CLOUD_DECODED, ..config.limits };
        match config.dialect.keep_term(question, &limits) {
            Ok(content) => it.on_ask(now, id, content, timeout, &mut self.shared),
            Err(error) => self.shared.out.answer_request(id, Err(error.into())),
        }
    }

    /// No one waits for the answer to this request any longer. No action follows for it.
    pub fn handle_cancel(&mut self, now: Time, id: AskId) {
        self.check_suspend(now);
        if let Link::Connected(it) = &mut self.link {
            it.on_cancel(now, id, &mut self.shared);
        }
    }

    /// Handles the application's answer to a request of the cloud, or why there is none.
    pub fn handle_reply(
        &mut self,
        now: Time,
        question: QuestionId,
        answer: Result<&Term, NoReply>,
    ) -> Result<(), ReplyError> {
        self.check_suspend(now);
        let Link::Connected(it) = &mut self.link else { return Err(ReplyError::NotWaiting) };
        it.on_reply(now, question, answer, &mut self.shared)
    }
}
