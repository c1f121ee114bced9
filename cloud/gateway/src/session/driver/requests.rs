//! Requests of the session in both directions: those of the hub, and those of the device.

use std::task::{Context, Poll};
use std::time::Duration;

use fedecks_delivery::{NoReply, RequestEvent, Requests, timeout_ms};
use fedecks_protocol::{
    Capabilities, DownFrame, EncodedTerm, Limits, NoReplyReason, RequestFrame, Term,
    UndecodableContent,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Driver;
use super::asked::{Asked, Known};
use crate::connection::ask::Ask;
use crate::handler::Handler;
use crate::messaging::request::{RequestError, RequestOutcome};
use crate::session::callback::{Callback, Completed};
use crate::session::moment::Moment;

/// How long a request waits for a device to say what it understands, which it does at once if it does.
const HELLO_TIMEOUT: Duration = Duration::from_secs(1);

/// What a reply has besides its content, in bytes, at most.
const REPLY_HEAD: usize = 10;

impl<'a, H: Handler, S: AsyncRead + AsyncWrite + Unpin> Driver<'a, H, S> {
    fn asked(&mut self) -> &mut Asked {
        let last_asked = u64::from(self.last_asked);
        self.requests.get_or_insert_with(|| {
            let requests = Requests::continued(last_asked);
            Box::new(Asked { requests, replies: Vec::new(), last: 0, waiting: Vec::new() })
        })
    }

    /// Frees the memory once nothing is in progress.
    fn tidy(&mut self) {
        let is_idle = |it: &Asked| it.requests.is_idle() && it.waiting.is_empty();
        if let Some(it) = self.requests.take_if(|it| is_idle(it)) {
            self.last_asked = u32::try_from(it.requests.last_asked()).unwrap_or(u32::MAX);
        }
    }

    fn takes_requests(&self) -> bool {
        self.device_takes.is_some_and(Known::requests)
    }

    /// The hub asks the device.
    pub(super) fn ask(&mut self, ask: Ask) {
        match self.device_takes {
            Some(_) if self.takes_requests() => self.send_ask(ask),
            Some(_) => ask.refuse(RequestError::Unsupported),
            None => {
                let until = Instant::now() + HELLO_TIMEOUT;
                self.asked().waiting.push((until, ask));
            }
        }
    }

    fn send_ask(&mut self, mut ask: Ask) {
        let (now, elapsed) = (Instant::now(), self.since_start());
        let timeout = ask.deadline.saturating_duration_since(now);
        // The numbers of a connection end only in theory.
        let is_last = self.last_asked == u32::MAX;
        let it = self.asked();
        if is_last || !it.requests.has_room() {
            ask.refuse(RequestError::Busy);
            return self.tidy();
        }
        let Some(reply) = ask.take_reply().filter(|reply| !reply.is_closed() && !timeout.is_zero())
        else {
            return self.tidy();
        };
        it.last += 1;
        let request = it.requests.ask(elapsed, it.last, timeout);
        it.replies.push((it.last, reply));
        let content = ask.content.clone();
        let timeout_ms = timeout_ms(timeout);
        self.send_request(RequestFrame::Request { request, timeout_ms, content });
    }

    /// The device has said what it understands.
    pub(super) fn on_hello(&mut self, capabilities: Capabilities) {
        self.device_takes = Some(Known::of(capabilities));
        self.look_for_kept(false);
        let Some(it) = &mut self.requests else { return };
        for (_, ask) in std::mem::take(&mut it.waiting) {
            self.ask(ask);
        }
        self.tidy();
    }

    pub(super) fn on_request(&mut self, frame: RequestFrame) -> Option<Callback<'a>> {
        if !self.takes_requests() {
            tracing::debug!("ignored a request of a device that does not understand the answer");
            return None;
        }
        let now = self.since_start();
        let event = self.asked().requests.on_frame(now, frame);
        self.on_request_event(event)
    }

    pub(super) fn on_undecodable_request(
        &mut self,
        content: UndecodableContent,
    ) -> Option<Callback<'a>> {
        if !self.takes_requests() {
            return None;
        }
        let event = self.asked().requests.on_undecodable(content);
        self.on_request_event(event)
    }

    fn on_request_event(&mut self, event: RequestEvent) -> Option<Callback<'a>> {
        let callback = match event {
            RequestEvent::Question { key, content, .. } => self.question(key, &content),
            RequestEvent::Refuse(frame) => {
                self.send_request(frame);
                None
            }
            RequestEvent::Answered { key, answer } => {
                self.answer(key, answer.map_err(RequestError::NoReply));
                None
            }
            // A callback that runs is not read ahead of, so none is for this.
            RequestEvent::Cancelled { .. } | RequestEvent::Nothing => None,
        };
        self.tidy();
        callback
    }

    fn question(&mut self, key: u64, content: &EncodedTerm) -> Option<Callback<'a>> {
        let (context, session) = (self.context, self.session);
        match content.decode() {
            Ok(term) => {
                self.traffic.decoded(&context.traffic, term.weight());
                Some(Box::pin(async move {
                    let started = Instant::now();
                    let outcome = context.handler.on_request(session, term).await;
                    context.hub.counters().handler.add(started.elapsed());
                    Completed::Request(key, outcome)
                }))
            }
            // It was checked when it was received.
            Err(_) => {
                self.reply(key, Err(NoReply::new(NoReplyReason::Undecodable, "")));
                None
            }
        }
    }

    /// The handler has handled a request of the device.
    pub(super) fn on_replied(&mut self, key: u64, outcome: RequestOutcome) {
        let answer = match outcome {
            RequestOutcome::Reply(term) => Ok(term),
            RequestOutcome::Failed(text) => Err(NoReply::new(NoReplyReason::Failed, text)),
            RequestOutcome::Unhandled => Err(NoReply::new(NoReplyReason::Unhandled, "")),
        };
        self.end_overdue();
        self.reply(key, answer);
        self.tidy();
    }

    fn reply(&mut self, key: u64, answer: Result<Term, NoReply>) {
        let limits = self.limits();
        let max_size = limits.max_size.saturating_sub(REPLY_HEAD);
        let limits = Limits { max_size, ..limits };
        let dialect = self.dialect();
        let Some(it) = &mut self.requests else { return };
        let Some(request) = it.requests.reply(key) else { return };
        let frame = match answer.map(|term| dialect.keep_term(&term, &limits)) {
            Ok(Ok(content)) => RequestFrame::Reply { request, content },
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot encode an answer of the handler");
                let text = format!("cannot encode the answer: {error}");
                RequestFrame::no_reply(request, NoReplyReason::Failed, &text)
            }
            Err(none) => RequestFrame::no_reply(request, none.reason, &none.text),
        };
        self.send_request(frame);
    }

    fn answer(&mut self, key: u64, answer: Result<EncodedTerm, RequestError>) {
        let Some(it) = &mut self.requests else { return };
        if let Some(index) = it.replies.iter().position(|(of, _)| *of == key) {
            // The caller may have given up.
            let _ = it.replies.swap_remove(index).1.send(answer);
        }
    }

    fn send_request(&mut self, frame: RequestFrame) {
        self.send(self.dialect().encode_down(&DownFrame::Request(frame), &self.limits()));
    }

    /// Ends what is overdue, and what no one waits for any longer. Wakes the task when a caller gives up.
    pub(super) fn poll_requests(&mut self, cx: &mut Context<'_>) {
        if self.requests.is_none() {
            return;
        }
        self.end_overdue();
        let Some(it) = &mut self.requests else { return };
        let mut left = Vec::new();
        for (key, reply) in &mut it.replies {
            if let Poll::Ready(()) = reply.poll_closed(cx) {
                left.push(*key);
            }
        }
        it.replies.retain(|(key, _)| !left.contains(key));
        for request in
            left.into_iter().filter_map(|key| it.requests.cancel(key)).collect::<Vec<_>>()
        {
            self.send_request(RequestFrame::Cancel { request });
        }
        self.tidy();
    }

    fn end_overdue(&mut self) {
        let (now, elapsed) = (Instant::now(), self.since_start());
        let Some(it) = &mut self.requests else { return };
        let (over, waiting): (Vec<_>, _) =
            std::mem::take(&mut it.waiting).into_iter().partition(|(until, _)| *until <= now);
        it.waiting = waiting;
        for (_, ask) in over {
            ask.refuse(RequestError::Unsupported);
        }
        for (key, request) in it.requests.take_overdue(elapsed).asked {
            self.answer(key, Err(RequestError::TimedOut));
            self.send_request(RequestFrame::Cancel { request });
        }
    }

    /// When [`Driver::poll_requests`] has something to do.
    pub(super) fn requests_due(&self) -> Option<Moment> {
        let it = self.requests.as_ref()?;
        let overdue = it.requests.deadline().map(Moment::after);
        let waiting = it.waiting.iter().map(|(until, _)| self.context.traffic.moment(*until));
        overdue.into_iter().chain(waiting).min()
    }
}
