//! The token in memory, the commands that bring the store up to date, and their retries. The store
//! itself belongs to the driver.

use std::time::Duration;

use fedecks_protocol::IssuedToken;

use super::output::Output;
use crate::action::Action;
use crate::event::Event;
use crate::time::Time;
use crate::timers::Timer;
use fedecks_common::Backoff;

/// Whether the store is up to date: has the token, or has none if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stored {
    /// It is, or nothing had to be saved yet.
    Yes,
    /// A command is running.
    Pending,
    /// A command failed and will be retried.
    Failed,
}

/// The outcome of loading the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loaded {
    /// The token was loaded.
    Token,
    /// There is no token, or the first attempt to load it failed.
    FirstMiss,
    /// There is still no token, or it is no longer needed.
    Nothing,
}

/// Executes one command at a time; a newer pending command replaces an older one.
#[derive(Debug)]
pub(super) struct TokenStore {
    token: Option<IssuedToken>,
    /// The cloud has refused the token as expired, and not accepted it since.
    late: bool,
    /// Whether it is known if there is a token: the store has answered, even if by an error, or what it would
    /// answer does not matter any more.
    looked: bool,
    running: Option<Command>,
    pending: Option<Command>,
    /// For loading again, because the store may be mounted late; `None` once that is unnecessary.
    load_retry: Option<Backoff>,
    /// For repeating a failed command; `None` after the shutdown.
    command_retry: Option<Backoff>,
}

#[derive(Debug, Clone, PartialEq)]
enum Command {
    Store(IssuedToken),
    Forget,
}

/// The first delay before loading again.
const FIRST_RELOAD: Duration = Duration::from_secs(5);

impl TokenStore {
    /// Starts by loading the token.
    pub(super) fn new(out: &mut Output) -> Self {
        out.push(Action::LoadToken);
        Self {
            token: None,
            late: false,
            looked: false,
            running: None,
            pending: None,
            load_retry: Some(Backoff::new(FIRST_RELOAD, Backoff::default().cap())),
            command_retry: Some(Backoff::default()),
        }
    }

    pub(super) fn get(&self) -> Option<&IssuedToken> {
        self.token.as_ref()
    }

    pub(super) fn is_late(&self) -> bool {
        self.late
    }

    pub(super) fn has_looked(&self) -> bool {
        self.looked
    }

    /// Handles that the cloud has accepted the token, or has refused it as expired.
    pub(super) fn set_late(&mut self, late: bool) {
        self.late = late;
    }

    pub(super) fn stored(&self) -> Stored {
        match (&self.running, &self.pending) {
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
        self.looked = true;
        match loaded {
            Ok(Some(token)) => {
                self.stop_loading(out);
                self.token = Some(token);
                return Loaded::Token;
            }
            Ok(None) => {}
            Err(error) => out.emit(Event::StoreFailed { error }),
        }
        let delay = retry.next_delay();
        out.timers.set(Timer::Load, now + delay);
        if delay == FIRST_RELOAD { Loaded::FirstMiss } else { Loaded::Nothing }
    }

    pub(super) fn replace(&mut self, token: IssuedToken, out: &mut Output) {
        self.token = Some(token.clone());
        self.late = false;
        self.submit(Command::Store(token), out);
    }

    pub(super) fn forget(&mut self, out: &mut Output) {
        self.token = None;
        self.late = false;
        self.submit(Command::Forget, out);
    }

    /// Handles the result of a command and starts the next one. A failed command is retried later unless
    /// there is a newer one. Returns true if no command is running now.
    pub(super) fn on_stored(
        &mut self,
        now: Time,
        result: &Result<(), String>,
        out: &mut Output,
    ) -> bool {
        let done = self.running.take();
        if let Some(retry) = &mut self.command_retry {
            match result {
                Ok(()) => *retry = Backoff::default(),
                Err(error) => {
                    out.timers.set(Timer::Store, now + retry.next_delay());
                    out.emit(Event::StoreFailed { error: error.clone() });
                }
            }
        }
        if result.is_err() && self.pending.is_none() {
            self.pending = done;
        } else {
            self.start_next(out);
        }
        self.running.is_none()
    }

    /// Starts the pending command unless one is running.
    pub(super) fn start_next(&mut self, out: &mut Output) {
        if self.running.is_some() {
            return;
        }
        self.running = self.pending.take();
        match self.running.clone() {
            Some(Command::Store(token)) => out.push(Action::StoreToken(token)),
            Some(Command::Forget) => out.push(Action::ForgetToken),
            None => {}
        }
    }

    /// Retries a failed command a last time: the store may work by now.
    pub(super) fn shut_down(&mut self, out: &mut Output) {
        (self.load_retry, self.command_retry) = (None, None);
        self.start_next(out);
    }

    fn submit(&mut self, command: Command, out: &mut Output) {
        self.stop_loading(out);
        self.pending = Some(command);
        self.start_next(out);
    }

    fn stop_loading(&mut self, out: &mut Output) {
        (self.load_retry, self.looked) = (None, true);
        out.timers.stop(Timer::Load);
    }
}
