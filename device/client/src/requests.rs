//! Requests to the cloud, and its requests to this device.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fedecks_device_core::{Action, AskId, Connection, QuestionId};
#[doc(inline)]
pub use fedecks_device_core::{NoReply, ReplyError, RequestError};
#[doc(inline)]
pub use fedecks_protocol::NoReplyReason;
use fedecks_protocol::{EncodedTerm, Term, TermError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::clock::BootClock;
use crate::error::Stopped;
use crate::unsent::{Share, Unsent};

/// How many requests may be in progress in each direction.
const MOST: usize = 16;

/// How long a request waits for its answer, unless something else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest that a request waits for its answer.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientRequestError {
    /// The question cannot be represented as a [`Term`], or the answer not as the type that was asked for.
    #[error("the value cannot be converted: {0}")]
    Value(#[from] TermError),
    /// The cloud has not answered.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The client was shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why an answer was not sent.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The answer cannot be represented as a [`Term`]: the cloud learns that the request failed.
    #[error("the value cannot be sent: {0}")]
    Value(#[from] TermError),
    /// No one waits for it any longer, or it is too big or too deeply nested.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The client was shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Somebody else answers the requests of the cloud already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the requests of the cloud are answered already")]
#[expect(clippy::exhaustive_structs, reason = "nothing but the fact")]
pub struct AlreadyAnswering;

/// What the loop is to do.
pub(crate) enum Command {
    Ask { id: AskId, question: Term, timeout: Duration, reply: Answer, share: Share },
    Cancel(AskId),
    Reply { question: QuestionId, answer: Result<Term, NoReply>, reply: Option<Replied> },
}

type Answer = oneshot::Sender<Result<EncodedTerm, RequestError>>;
type Replied = oneshot::Sender<Result<(), ReplyError>>;

/// The client's end. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    /// Each has at most [`MOST`] questions and one answer for each request of the cloud in it.
    commands: mpsc::UnboundedSender<Command>,
    last: Arc<AtomicU64>,
    places: Arc<Semaphore>,
    consumer: Consumer,
}

/// The one that answers the requests of the cloud.
type Consumer = Arc<Mutex<Slot>>;

#[derive(Debug, Default)]
struct Slot {
    sender: Option<mpsc::Sender<Request>>,
    /// The loop has ended.
    ended: bool,
}

/// The loop's end.
pub(crate) struct Asked {
    commands: mpsc::UnboundedSender<Command>,
    consumer: Consumer,
    waiting: HashMap<AskId, (Answer, Share)>,
    /// Dropped when no one waits for the answer any longer.
    questions: HashMap<QuestionId, oneshot::Sender<()>>,
}

/// Both ends, and what the loop receives. It must take a command only when the link has sent everything before.
pub(crate) fn channel() -> (Asker, Asked, mpsc::UnboundedReceiver<Command>) {
    let (commands, queue) = mpsc::unbounded_channel();
    let consumer = Consumer::default();
    let asked = Asked {
        commands: commands.clone(),
        consumer: Arc::clone(&consumer),
        waiting: HashMap::new(),
        questions: HashMap::new(),
    };
    let places = Arc::new(Semaphore::new(MOST));
    (Asker { commands, last: Arc::default(), places, consumer }, asked, queue)
}

impl Asker {
    pub(crate) async fn ask(
        &self,
        question: Term,
        timeout: Duration,
        unsent: &Unsent,
    ) -> Result<EncodedTerm, ClientRequestError> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(RequestError::Busy.into());
        };
        let share = unsent.take(question.weight()).await;
        let id = AskId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let (reply, answer) = oneshot::channel();
        let command = Command::Ask { id, question, timeout, reply, share };
        self.commands.send(command).map_err(|_| Stopped)?;
        let mut guard = CancelOnDrop { id: Some(id), commands: &self.commands };
        let answer = answer.await.map_err(|_| Stopped)?;
        guard.id = None;
        Ok(answer?)
    }

    pub(crate) fn consume(&self) -> Result<Requests, AlreadyAnswering> {
        let mut slot = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.sender.as_ref().is_some_and(|sender| !sender.is_closed()) {
            return Err(AlreadyAnswering);
        }
        let (sender, requests) = mpsc::channel(MOST);
        slot.sender = Some(sender).filter(|_| !slot.ended);
        Ok(Requests(requests))
    }
}

/// Cancels a request whose future is dropped.
struct CancelOnDrop<'a> {
    id: Option<AskId>,
    commands: &'a mpsc::UnboundedSender<Command>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // Fails if the loop has ended, and with it the request.
            let _ = self.commands.send(Command::Cancel(id));
        }
    }
}

impl Asked {
    pub(crate) fn on_command(&mut self, command: Command, core: &mut Connection) {
        let now = BootClock::now();
        match command {
            Command::Ask { id, question, timeout, reply, share } => {
                self.waiting.insert(id, (reply, share));
                core.handle_request(now, id, &question, timeout);
            }
            Command::Cancel(id) => {
                self.waiting.remove(&id);
                core.handle_cancel(now, id);
            }
            Command::Reply { question, answer, reply } => {
                self.questions.remove(&question);
                let result =
                    core.handle_reply(now, question, answer.as_ref().map_err(Clone::clone));
                if let Some(reply) = reply {
                    // The caller may have dropped its future.
                    let _ = reply.send(result);
                }
            }
        }
    }

    /// Executes an action about requests. Any other has no effect.
    pub(crate) fn on_action(&mut self, action: Action, core: &mut Connection) {
        match action {
            Action::AnswerRequest { id, result } => {
                if let Some((waiting, _share)) = self.waiting.remove(&id) {
                    // The caller may have dropped its future.
                    let _ = waiting.send(result);
                }
            }
            Action::DeliverRequest { question, content, timeout } => {
                if let Err(reason) = self.deliver(question, content, timeout) {
                    self.questions.remove(&question);
                    // It waited for no one.
                    let _ = core.handle_reply(
                        BootClock::now(),
                        question,
                        Err(NoReply::new(reason, "")),
                    );
                }
            }
            Action::CancelRequest { question } => {
                self.questions.remove(&question);
            }
            _ => {}
        }
    }

    fn deliver(
        &mut self,
        id: QuestionId,
        content: EncodedTerm,
        timeout: Duration,
    ) -> Result<(), NoReplyReason> {
        let slot = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        let consumer = slot.sender.as_ref().ok_or(NoReplyReason::Unhandled)?;
        let (sender, cancelled) = oneshot::channel();
        self.questions.insert(id, sender);
        let reply = ReplyOnDrop { id: Some(id), commands: self.commands.clone() };
        let deadline = Instant::now() + timeout;
        let request = Request { content, deadline, cancelled, reply };
        consumer.try_send(request).map_err(|error| {
            let (reason, mut request) = match error {
                TrySendError::Full(request) => (NoReplyReason::Busy, request),
                TrySendError::Closed(request) => (NoReplyReason::Unhandled, request),
            };
            // Answered by the caller.
            request.reply.id = None;
            reason
        })
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut slot = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Slot { sender: None, ended: true };
    }
}

/// The requests of the cloud, for the one who answers them: see [`Client::requests`](crate::Client::requests).
///
/// While no one has this, requests are answered at once with [`NoReplyReason::Unhandled`].
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Request>);

impl Requests {
    /// The next request; `None` after the end of the client. Cancel safe.
    pub async fn next(&mut self) -> Option<Request> {
        self.0.recv().await
    }
}

/// A request of the cloud. Dropped without an answer, it counts as failed.
pub struct Request {
    content: EncodedTerm,
    deadline: Instant,
    cancelled: oneshot::Receiver<()>,
    reply: ReplyOnDrop,
}

impl Request {
    /// The question.
    pub fn term(&self) -> Result<Term, TermError> {
        // It was checked when it was received.
        self.content.decode().map_err(<TermError as serde::de::Error>::custom)
    }

    /// The question as a value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, TermError> {
        self.term()?.parse()
    }

    /// Until when the cloud waits for the answer.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Waits until no one waits for the answer any longer: the cloud has cancelled the request, its time is over, or
    /// the connection is lost. Cancel safe. Not to be called after it has returned.
    pub async fn cancelled(&mut self) {
        // The loop drops its end.
        let _ = (&mut self.cancelled).await;
    }

    /// Answers. Returns when the answer is passed to the connection: whether it arrives, only the cloud knows.
    pub async fn reply<T: Serialize + ?Sized>(self, answer: &T) -> Result<(), AnswerError> {
        self.reply_term(Term::from_serialize(answer)?).await
    }

    /// Answers with a term, without a copy of it; otherwise like [`Request::reply`].
    pub async fn reply_term(self, answer: Term) -> Result<(), AnswerError> {
        self.answer(Ok(answer)).await
    }

    /// Refuses to answer, with a text for people, of which up to 1,024 bytes are sent.
    pub async fn fail(self, text: &str) -> Result<(), AnswerError> {
        self.answer(Err(NoReply::new(NoReplyReason::Failed, text))).await
    }

    async fn answer(mut self, answer: Result<Term, NoReply>) -> Result<(), AnswerError> {
        let Some(question) = self.reply.id.take() else {
            return Err(ReplyError::NotWaiting.into());
        };
        let (reply, replied) = oneshot::channel();
        let command = Command::Reply { question, answer, reply: Some(reply) };
        self.reply.commands.send(command).map_err(|_| Stopped)?;
        Ok(replied.await.map_err(|_| Stopped)??)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("content", &self.content).finish_non_exhaustive()
    }
}

/// Says that a request has failed, unless it was answered.
struct ReplyOnDrop {
    id: Option<QuestionId>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Drop for ReplyOnDrop {
    fn drop(&mut self) {
        if let Some(question) = self.id {
            let answer =
                Err(NoReply::new(NoReplyReason::Failed, "it was dropped without an answer"));
            // Fails if the loop has ended, and with it the request.
            let _ = self.commands.send(Command::Reply { question, answer, reply: None });
        }
    }
}

#[cfg(test)]
mod tests;
