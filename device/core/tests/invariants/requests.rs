//! What is known about requests: each is answered once, and none of either end survives its connection.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for a few kinds")]

use std::collections::HashSet;

use fedecks_device_core::{Action, AskId, QuestionId};

#[derive(Default)]
pub(crate) struct Requests {
    last: u64,
    /// Asked, and not answered.
    asked: HashSet<AskId>,
    /// Of the cloud, and neither answered nor cancelled.
    questions: HashSet<QuestionId>,
    last_question: u64,
}

impl Requests {
    /// The id of a request to the cloud.
    pub(crate) fn next(&mut self) -> AskId {
        self.last += 1;
        self.asked.insert(AskId(self.last));
        AskId(self.last)
    }

    pub(crate) fn newest_question(&self) -> QuestionId {
        QuestionId(self.last_question)
    }

    pub(crate) fn answered(&mut self, question: QuestionId) {
        assert!(self.questions.remove(&question), "{question:?} does not wait");
    }

    pub(crate) fn watch(&mut self, action: &Action) {
        match action {
            Action::AnswerRequest { id, .. } => {
                assert!(self.asked.remove(id), "{id:?} was not asked, or was answered before");
            }
            Action::DeliverRequest { question, timeout, .. } => {
                assert!(question.0 > self.last_question, "{question:?} again");
                assert!(!timeout.is_zero() && timeout.as_secs() <= 600);
                self.last_question = question.0;
                self.questions.insert(*question);
            }
            Action::CancelRequest { question } => {
                assert!(self.questions.remove(question), "{question:?} does not wait");
            }
            _ => {}
        }
    }

    pub(crate) fn check(&self, is_connected: bool) {
        let most = if is_connected { 16 } else { 0 };
        assert!(self.asked.len() <= most, "unanswered: {:?}", self.asked);
        assert!(self.questions.len() <= most, "not cancelled: {:?}", self.questions);
    }
}
