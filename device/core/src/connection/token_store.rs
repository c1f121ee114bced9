//! The token in memory, what the store is still to be told about it, and when it is asked again.

use std::time::Duration;

use fedecks_protocol::IssuedToken;

use super::output::Output;
use crate::action::Action;
use crate::event::Event;
use crate::time::Time;
use crate::timers::Timer;
use fedecks_common::Backoff;

/// Whether the store has what is known here: the token, or that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It has, unless it was never asked.
    Yes,
    /// It was told and has not answered.
    Pending,
    /// It could not be written; it is told again.
    Failed,
}

/// The store's answer to whether it has a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loaded {
    /// It has; it is held here now.
    Token,
    /// It has none, or could not be read, when it was asked for the first time.
    FirstMiss,
    /// It has none this time either, or nobody wants to know any more.
    Nothing,
}

/// One order to the store is under way at a time; the newest one waiting replaces older ones.
#[derive(Debug)]
pub(super) struct TokenStore {
    token: Option<IssuedToken>,
    running: Option<StoreOrder>,
    waiting: Option<StoreOrder>,
    /// The waits before the store is asked for a token again, for it may be mounted late; none once
    /// it need not be asked.
    load_retry: Option<Backoff>,
    /// The waits before a failed order is repeated; none once the program ends.
    order_retry: Option<Backoff>,
}

#[derive(Debug, Clone, PartialEq)]
enum StoreOrder {
    Keep(IssuedToken),
    Forget,
}

/// First wait before the store is asked again whether it has a token.
const FIRST_LOOK: Duration = Duration::from_secs(5);

impl TokenStore {
    /// Begins by asking the store.
    pub(super) fn new(out: &mut Output) -> Self {
        out.push(Action::LoadToken);
        Self {
            token: None,
            running: None,
            waiting: None,
            load_retry: Some(Backoff::new(FIRST_LOOK, Backoff::default().cap())),
            order_retry: Some(Backoff::default()),
        }
    }

    pub(super) fn get(&self) -> Option<&IssuedToken> {
        self.token.as_ref()
    }

    pub(super) fn stored(&self) -> Stored {
        match (&self.running, &self.waiting) {
            (None, None) => Stored::Yes,
            (None, Some(_)) => Stored::Failed,
            (Some(_), _) => Stored::Pending,
        }
    }

    pub(super) fn on_loaded(
        &mut self,
        now: Time,
        loaded: Result<Option<IssuedToken>, String>,
        out: &mut Output,
    ) -> Loaded {
        let Some(retry) = &mut self.load_retry else { return Loaded::Nothing };
        match loaded {
            Ok(Some(token)) => {
                self.stop_loading(out);
                self.token = Some(token);
                return Loaded::Token;
            }
            Ok(None) => {}
            Err(error) => out.emit(Event::StoreFailed { error }),
        }
        let wait = retry.next_delay();
        out.timers.set(Timer::Load, now + wait);
        if wait == FIRST_LOOK { Loaded::FirstMiss } else { Loaded::Nothing }
    }

    /// A new token.
    pub(super) fn replace(&mut self, token: IssuedToken, out: &mut Output) {
        self.token = Some(token.clone());
        self.order(StoreOrder::Keep(token), out);
    }

    /// No token any more.
    pub(super) fn forget(&mut self, out: &mut Output) {
        self.token = None;
        self.order(StoreOrder::Forget, out);
    }

    /// The store has finished an order, and is told the next one at once. An order that failed stays,
    /// unless a newer one took its place, and is repeated later. True if nothing is under way now.
    pub(super) fn on_stored(
        &mut self,
        now: Time,
        result: &Result<(), String>,
        out: &mut Output,
    ) -> bool {
        let done = self.running.take();
        if let Some(retry) = &mut self.order_retry {
            match result {
                Ok(()) => *retry = Backoff::default(),
                Err(error) => {
                    out.timers.set(Timer::Store, now + retry.next_delay());
                    out.emit(Event::StoreFailed { error: error.clone() });
                }
            }
        }
        if result.is_err() && self.waiting.is_none() {
            self.waiting = done;
        } else {
            self.tell(out);
        }
        self.running.is_none()
    }

    /// Tells the store what it is to be told now, if it is free.
    pub(super) fn tell(&mut self, out: &mut Output) {
        if self.running.is_some() {
            return;
        }
        self.running = self.waiting.take();
        match self.running.clone() {
            Some(StoreOrder::Keep(token)) => out.push(Action::StoreToken(token)),
            Some(StoreOrder::Forget) => out.push(Action::ForgetToken),
            None => {}
        }
    }

    /// The program ends. The store may work by now: what failed is tried once more.
    pub(super) fn shut_down(&mut self, out: &mut Output) {
        (self.load_retry, self.order_retry) = (None, None);
        self.tell(out);
    }

    fn order(&mut self, order: StoreOrder, out: &mut Output) {
        self.stop_loading(out);
        self.waiting = Some(order);
        self.tell(out);
    }

    fn stop_loading(&mut self, out: &mut Output) {
        self.load_retry = None;
        out.timers.stop(Timer::Load);
    }
}
