//! The requests of one connection, in both directions: which are in progress, and what a frame about them means.

use std::time::Duration;

use fedecks_protocol::{EncodedTerm, NoReplyReason, RequestFrame, RequestId, UndecodableContent};

/// How many requests an end may have in progress.
pub const MAX_REQUESTS: usize = 16;

/// How many bytes of content the requests of the other end may take together while they are in progress. A single one may
/// be bigger.
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// The longest that an asker may wait.
pub const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(600);

/// The requests of both ends of a connection. The ends of a connection end all of them.
#[derive(Debug, Default)]
pub struct Requests {
    asked: Vec<Asked>,
    questions: Vec<Question>,
    /// The number of the last request of this end.
    last_asked: u64,
    /// The key of the last request of the other end. Not on the wire: it is not used again on another connection.
    last_question: u64,
}

/// A request of this end.
#[derive(Debug)]
struct Asked {
    key: u64,
    request: RequestId,
    deadline: Duration,
}

/// A request of the other end.
#[derive(Debug)]
struct Question {
    key: u64,
    request: RequestId,
    size: usize,
    deadline: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}{text}", if text.is_empty() { "" } else { ": " })]
#[non_exhaustive]
pub struct NoReply {
    /// Why.
    pub reason: NoReplyReason,
    /// More about it, for people; may be empty. From the other end: not trusted.
    pub text: String,
}

/// What a frame about requests means.
#[derive(Debug, PartialEq)]
pub enum RequestEvent {
    /// Nothing.
    Nothing,
    /// The other end asks.
    Question {
        /// Names it for [`Requests::reply`].
        key: u64,
        /// The question.
        content: EncodedTerm,
        /// How long the other end waits.
        timeout: Duration,
    },
    /// It asks, and is to be sent this at once.
    Refuse(RequestFrame),
    /// The other end has answered.
    Answered {
        /// As given to [`Requests::ask`].
        key: u64,
        /// The answer.
        answer: Result<EncodedTerm, NoReply>,
    },
    /// The other end does not wait for the answer any longer.
    Cancelled {
        /// The question.
        key: u64,
    },
}

/// What is over.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// The requests of this end that had no answer in time, each with the number that is to be cancelled.
    pub asked: Vec<(u64, RequestId)>,
    /// The requests of the other end for which it does not wait any longer.
    pub questions: Vec<u64>,
}

impl NoReply {
    /// There is no answer, for this reason.
    pub fn new(reason: NoReplyReason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

impl Requests {
    /// Those of a connection on which this end has asked before, the last time with this number.
    pub fn continued(last_asked: u64) -> Self {
        Self { last_asked, ..Self::default() }
    }

    /// The number of the last request of this end; 0 if there was none.
    pub fn last_asked(&self) -> u64 {
        self.last_asked
    }

    /// Whether none of either end is in progress.
    pub fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.questions.is_empty()
    }

    /// Whether there is room for another request of this end.
    pub fn has_room(&self) -> bool {
        self.asked.len() < MAX_REQUESTS
    }

    /// This end asks: returns the number of the request, which is to be sent with [`clamp_timeout`] of the timeout.
    pub fn ask(&mut self, now: Duration, key: u64, timeout: Duration) -> RequestId {
        self.last_asked += 1;
        let request = RequestId(self.last_asked);
        self.asked.push(Asked { key, request, deadline: now + clamp_timeout(timeout) });
        request
    }

    /// The caller does not wait any longer: returns the number of the request, which is to be cancelled.
    pub fn cancel(&mut self, key: u64) -> Option<RequestId> {
        let index = self.asked.iter().position(|asked| asked.key == key)?;
        Some(self.asked.swap_remove(index).request)
    }

    /// A question has its answer: returns its number, to which that is to be sent. `None` if the other end does not
    /// wait for it any longer.
    pub fn reply(&mut self, key: u64) -> Option<RequestId> {
        let index = self.questions.iter().position(|question| question.key == key)?;
        Some(self.questions.swap_remove(index).request)
    }

    /// Handles a frame of the other end.
    pub fn on_frame(&mut self, now: Duration, frame: RequestFrame) -> RequestEvent {
        match frame {
            RequestFrame::Request { request, timeout_ms, content } => {
                let timeout = clamp_timeout(Duration::from_millis(timeout_ms));
                self.on_request(now, request, timeout, content)
            }
            RequestFrame::Reply { request, content } => self.on_answer(request, Ok(content)),
            RequestFrame::NoReply { request, reason, text } => {
                self.on_answer(request, Err(NoReply { reason, text }))
            }
            RequestFrame::Cancel { request } => {
                let question = self.questions.iter().position(|it| it.request == request);
                question.map_or(RequestEvent::Nothing, |index| RequestEvent::Cancelled {
                    key: self.questions.swap_remove(index).key,
                })
            }
        }
    }

    /// Handles a frame of the other end whose content cannot be decoded.
    pub fn on_undecodable(&mut self, content: UndecodableContent) -> RequestEvent {
        let reason = NoReplyReason::Undecodable;
        match content {
            UndecodableContent::Request(request) if self.is_question(request) => {
                RequestEvent::Nothing
            }
            UndecodableContent::Request(request) => {
                RequestEvent::Refuse(RequestFrame::no_reply(request, reason, ""))
            }
            UndecodableContent::Reply(request) => {
                self.on_answer(request, Err(NoReply::new(reason, "the answer cannot be decoded")))
            }
        }
    }

    fn on_request(
        &mut self,
        now: Duration,
        request: RequestId,
        timeout: Duration,
        content: EncodedTerm,
    ) -> RequestEvent {
        if self.is_question(request) {
            return RequestEvent::Nothing;
        }
        let size = content.size();
        let waiting: usize = self.questions.iter().map(|question| question.size).sum();
        let is_too_much = !self.questions.is_empty() && waiting + size > MAX_REQUEST_BYTES;
        if is_too_much || self.questions.len() >= MAX_REQUESTS {
            let frame = RequestFrame::no_reply(request, NoReplyReason::Busy, "");
            return RequestEvent::Refuse(frame);
        }
        self.last_question += 1;
        let key = self.last_question;
        self.questions.push(Question { key, request, size, deadline: now + timeout });
        RequestEvent::Question { key, content, timeout }
    }

    fn is_question(&self, request: RequestId) -> bool {
        self.questions.iter().any(|question| question.request == request)
    }

    fn on_answer(
        &mut self,
        request: RequestId,
        answer: Result<EncodedTerm, NoReply>,
    ) -> RequestEvent {
        let asked = self.asked.iter().position(|asked| asked.request == request);
        asked.map_or(RequestEvent::Nothing, |index| {
            let key = self.asked.swap_remove(index).key;
            RequestEvent::Answered { key, answer }
        })
    }

    /// When the next request is overdue.
    pub fn deadline(&self) -> Option<Duration> {
        let asked = self.asked.iter().map(|asked| asked.deadline);
        asked.chain(self.questions.iter().map(|question| question.deadline)).min()
    }

    /// Takes those that are overdue.
    pub fn take_overdue(&mut self, now: Duration) -> Overdue {
        let mut overdue = Overdue::default();
        self.asked.retain(|asked| {
            let is_over = asked.deadline <= now;
            if is_over {
                overdue.asked.push((asked.key, asked.request));
            }
            !is_over
        });
        self.questions.retain(|question| {
            let is_over = question.deadline <= now;
            if is_over {
                overdue.questions.push(question.key);
            }
            !is_over
        });
        overdue
    }

    /// Takes all of them: the connection has ended.
    pub fn take_all(&mut self) -> Overdue {
        self.take_overdue(Duration::MAX)
    }
}

/// The timeout as an asker may grant it.
pub fn clamp_timeout(timeout: Duration) -> Duration {
    timeout.clamp(Duration::from_millis(1), MAX_REQUEST_TIMEOUT)
}

/// The milliseconds of a timeout, clamped.
pub fn timeout_ms(timeout: Duration) -> u64 {
    u64::try_from(clamp_timeout(timeout).as_millis()).unwrap_or(u64::MAX)
}
