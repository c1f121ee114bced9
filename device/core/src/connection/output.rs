//! The outputs of the connection: a queue of actions and the timers.

use std::collections::VecDeque;

use fedecks_protocol::EncodedTerm;

use crate::action::Action;
use crate::event::Event;
use crate::question::{AskId, RequestError};
use crate::request::{SendError, SendId};
use crate::timers::Timers;

#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) actions: VecDeque<Action>,
    pub(super) timers: Timers,
}

impl Output {
    pub(super) fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn answer_send(&mut self, send: SendId, result: Result<(), SendError>) {
        self.push(Action::AnswerSend { send, result });
    }

    pub(super) fn answer_request(&mut self, id: AskId, result: Result<EncodedTerm, RequestError>) {
        self.push(Action::AnswerRequest { id, result });
    }

    pub(super) fn emit(&mut self, event: Event) {
        self.push(Action::Emit(event));
    }
}
