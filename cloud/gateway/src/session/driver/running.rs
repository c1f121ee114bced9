//! A callback that does not complete at once, and what a session does meanwhile.

use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Driver, GRACE, Pending};
use crate::connection::mailbox::Delivery;
use crate::handler::Handler;
use crate::session::callback::{Callback, Completed, Running};
use crate::session::end::EndReason;
use crate::session::error::SessionError;
use crate::session::moment::Moment;

impl<'a, H: Handler, S: AsyncRead + AsyncWrite + Unpin> Driver<'a, H, S> {
    /// Keeps a callback that [`Driver::poll_running`] continues.
    pub(super) fn keep_running(&mut self, callback: Callback<'a>) {
        let until = self.context.traffic.now() + self.context.options.idle_timeout;
        self.running = Some(Box::new(Running { callback, until }));
    }

    /// Begins a callback, and acts on the outcome once it has completed.
    pub(super) fn poll_new(
        &mut self,
        cx: &mut Context<'_>,
        mut callback: Callback<'a>,
    ) -> Poll<Result<(), EndReason>> {
        match poll_callback(&mut callback, cx) {
            Poll::Ready(outcome) => Poll::Ready(self.complete(outcome)),
            Poll::Pending => {
                self.keep_running(callback);
                self.poll_meanwhile(cx)
            }
        }
    }

    /// Continues the callback that is running, if there is one, serves the connection in the meantime, and acts on the
    /// outcome.
    pub(super) fn poll_running(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndReason>> {
        let span = self.span();
        let _in_span = span.enter();
        let Some(running) = &mut self.running else { return Poll::Ready(Ok(())) };
        let Poll::Ready(outcome) = poll_callback(&mut running.callback, cx) else {
            return self.poll_meanwhile(cx);
        };
        self.running = None;
        // Reading may have been paused while the callback ran.
        self.last_received = self.context.traffic.now();
        Poll::Ready(self.complete(outcome))
    }

    fn poll_meanwhile(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndReason>> {
        let end = ready!(self.poll_during_callback(cx));
        self.running = None;
        Poll::Ready(self.complete(Err(end)))
    }

    fn complete(&mut self, outcome: Result<Completed, EndReason>) -> Result<(), EndReason> {
        match outcome.inspect_err(|end| self.note_failure(end))? {
            Completed::Outcome(outcome) => self.act_on(outcome),
            completed => self.on_completed(completed),
        }
    }

    /// Serves the connection while a callback runs: answers pings and reads one message ahead. Ready if
    /// the callback has to be dropped.
    fn poll_during_callback(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        let now = self.context.traffic.now();
        self.read(cx, now);
        let throttled = self.blocked_until(now);
        let is_read_ahead = matches!(self.pending.as_deref(), Some(Pending::Frame(_)));
        let is_reading = !is_read_ahead && throttled.is_none();
        if !is_reading {
            self.send_sign_of_life(now);
        }
        self.send_acks();
        let room = self.poll_down(cx);
        match self.flush(cx, now) {
            Ok(true) if !room => cx.waker().wake_by_ref(),
            Ok(_) => {}
            Err(end) => self.write_failed(end),
        }
        let command = match self.poll_mailbox(cx, false) {
            Poll::Ready(Delivery::Close(command)) => Some(command),
            Poll::Ready(Delivery::Kept) => {
                self.look_for_kept(true);
                cx.waker().wake_by_ref();
                None
            }
            Poll::Ready(Delivery::Item(_) | Delivery::NoRoom) | Poll::Pending => None,
        };
        let Some(Running { until, .. }) = self.running.as_deref_mut() else { return Poll::Pending };
        if command.is_some() {
            *until = (*until).min(now + GRACE);
        }
        let until = *until;
        if until <= now {
            let stuck = SessionError::Stuck(self.context.options.idle_timeout);
            return Poll::Ready(command.map_or(EndReason::Error(stuck), EndReason::from));
        }
        let sign_of_life = (!is_reading).then(|| self.sign_of_life_due());
        let deadlines = [throttled, sign_of_life, self.ack_due(), self.down_due()];
        let next = deadlines.into_iter().flatten().fold(until, Moment::min);
        self.arm(cx, next, now);
        Poll::Pending
    }
}

fn poll_callback(
    callback: &mut Callback<'_>,
    cx: &mut Context<'_>,
) -> Poll<Result<Completed, EndReason>> {
    // State that the callback leaves inconsistent by a panic is dropped with its session.
    let poll = AssertUnwindSafe(|| callback.as_mut().poll(cx));
    match std::panic::catch_unwind(poll) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(EndReason::Error(SessionError::Panicked))),
    }
}
