//! Requests on D-Bus: those to the cloud, and those of the cloud, which one program on the bus answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fedecks_dbus::{Device1Error, Dictionary, NAME, Variant};
use fedecks_device::Client;
use fedecks_device::requests::{
    AnswerError, ClientRequestError, DEFAULT_TIMEOUT, ReplyError, Request, RequestError, Requests,
};
use fedecks_protocol::{EncodeError, Term};
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio::time::{Instant, timeout};
use zbus::Connection;
use zbus::names::UniqueName;
use zbus::object_server::SignalEmitter;

use super::departure::left;
use super::error::IntoDbusError;

/// How long a request to the cloud waits: the caller's number of seconds, or the default for 0.
pub(super) fn request_timeout(seconds: u32) -> Duration {
    if seconds == 0 { DEFAULT_TIMEOUT } else { Duration::from_secs(seconds.into()) }
}

/// The program that answers the requests of the cloud. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Answering(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    owner: Option<Owner>,
    last_id: u64,
}

struct Owner {
    name: String,
    requests: Arc<AsyncMutex<Requests>>,
    /// The requests that it was given and has not answered.
    given: HashMap<u64, oneshot::Sender<Answer>>,
}

/// An answer of the program, and who waits until it is sent.
struct Answer {
    content: Result<Term, String>,
    sent: oneshot::Sender<Result<(), AnswerError>>,
}

impl Answering {
    /// Waits for the next request, for the caller, which answers all of them from now on until it leaves the bus.
    pub(super) async fn next(
        &self,
        client: &Client,
        caller: &UniqueName<'_>,
        limit: Duration,
        emitter: &SignalEmitter<'_>,
    ) -> Result<(u64, Variant, Dictionary), Device1Error> {
        let requests = self.claim(client, caller, emitter.connection())?;
        let nothing = || Ok((0, Variant::new(Term::from(""))?, Dictionary::default()));
        let Ok(mut requests) = requests.try_lock() else {
            return Err(Device1Error::Busy("another call waits for the next request".to_owned()));
        };
        let request = match timeout(limit, requests.next()).await {
            Ok(Some(request)) => request,
            Ok(None) => return Err(Device1Error::GivenUp("the service ends".to_owned())),
            Err(_) => return nothing(),
        };
        let term = request.term().map_err(|error| Device1Error::InvalidArgument(error.to_string()));
        let message = match term.and_then(|term| Ok(Variant::new(term)?)) {
            Ok(message) => message,
            Err(error) => {
                // It has no D-Bus form: the cloud learns why, and the program gets the next one.
                let _ = request.fail(&error.to_string()).await;
                return nothing();
            }
        };
        let left = request.deadline().saturating_duration_since(Instant::now());
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let details = Dictionary::new(vec![("timeout_ms".into(), left.into())])?;
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut state = self.lock();
            state.last_id += 1;
            let id = state.last_id;
            let owner = state.owner.as_mut().filter(|owner| owner.name == caller.as_str());
            let Some(owner) = owner else { return nothing() };
            owner.given.insert(id, sender);
            id
        };
        tokio::spawn(wait(self.clone(), id, request, answer, emitter.to_owned()));
        Ok((id, message, details))
    }

    /// Answers a request, or refuses to.
    pub(super) async fn answer(
        &self,
        caller: &UniqueName<'_>,
        id: u64,
        content: Result<Term, String>,
    ) -> Result<(), Device1Error> {
        let waiting = self.owned(caller, |owner| owner.given.remove(&id)).flatten();
        let not_waiting = || AnswerError::Reply(ReplyError::NotWaiting).into_dbus_error();
        let (sent, result) = oneshot::channel();
        let answer = Answer { content, sent };
        waiting.and_then(|waiting| waiting.send(answer).ok()).ok_or_else(not_waiting)?;
        result.await.map_err(|_| not_waiting())?.map_err(IntoDbusError::into_dbus_error)
    }

    fn claim(
        &self,
        client: &Client,
        caller: &UniqueName<'_>,
        connection: &Connection,
    ) -> Result<Arc<AsyncMutex<Requests>>, Device1Error> {
        let mut state = self.lock();
        if let Some(owner) = &state.owner {
            if owner.name == caller.as_str() {
                return Ok(Arc::clone(&owner.requests));
            }
            return Err(Device1Error::Busy(format!("{} answers the requests", owner.name)));
        }
        let requests = client.requests().map_err(|error| Device1Error::Busy(error.to_string()))?;
        let requests = Arc::new(AsyncMutex::new(requests));
        let name = caller.as_str().to_owned();
        let owner = Owner { name, requests: Arc::clone(&requests), given: HashMap::new() };
        state.owner = Some(owner);
        tokio::spawn(release(self.clone(), caller.to_owned(), connection.clone()));
        Ok(requests)
    }

    fn owned<T>(&self, caller: &str, act: impl FnOnce(&mut Owner) -> T) -> Option<T> {
        let mut state = self.lock();
        state.owner.as_mut().filter(|owner| owner.name == caller).map(act)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the program's answer to a request, or until no one waits for that any longer.
async fn wait(
    answering: Answering,
    id: u64,
    mut request: Request,
    mut answer: oneshot::Receiver<Answer>,
    emitter: SignalEmitter<'static>,
) {
    tokio::select! {
        answer = &mut answer => {
            // If the program has left, the request is dropped, and so fails.
            let Ok(Answer { content, sent }) = answer else { return };
            let result = match content {
                Ok(term) => request.reply_term(term).await,
                Err(text) => request.fail(&text).await,
            };
            let _ = sent.send(result);
        }
        () = request.cancelled() => {
            if let Some(owner) = &mut answering.lock().owner {
                owner.given.remove(&id);
            }
            // If it fails, the bus is gone, and with it the program.
            let _ = emitter.emit(NAME, "RequestCancelled", &(id,)).await;
        }
    }
}

/// Waits until the program leaves the bus. From then on another one may answer.
async fn release(answering: Answering, name: UniqueName<'static>, connection: Connection) {
    // An error means that the connection to the bus has failed, and the program is out of reach.
    let _ = left(&name, &connection).await;
    let mut state = answering.lock();
    if state.owner.as_ref().is_some_and(|owner| owner.name == name.as_str()) {
        state.owner = None;
    }
}

impl IntoDbusError for ClientRequestError {
    fn into_dbus_error(self) -> Device1Error {
        let text = self.to_string();
        match self {
            Self::Request(RequestError::NotConnected) | Self::Stopped(_) => {
                Device1Error::NotConnected(text)
            }
            Self::Request(RequestError::TimedOut | RequestError::OutcomeUnknown) => {
                Device1Error::Unconfirmed(text)
            }
            Self::Request(RequestError::Busy) => Device1Error::Busy(text),
            Self::Request(RequestError::Encode(EncodeError::UnknownFrame)) | Self::Value(_) => {
                Device1Error::InvalidArgument(text)
            }
            Self::Request(RequestError::Encode(_)) => Device1Error::TooBig(text),
            Self::Request(_) | _ => Device1Error::Rejected(text),
        }
    }
}

impl IntoDbusError for AnswerError {
    fn into_dbus_error(self) -> Device1Error {
        let text = self.to_string();
        match self {
            Self::Reply(ReplyError::Encode(_)) => Device1Error::TooBig(text),
            Self::Stopped(_) => Device1Error::GivenUp(text),
            Self::Reply(_) | Self::Value(_) | _ => Device1Error::InvalidArgument(text),
        }
    }
}
