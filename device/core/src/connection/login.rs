//! Logins and logouts. A login never costs the token that was there before: only a token that the
//! cloud hands out after it takes that one's place.

use fedecks_protocol::{AuthRequest, CloseCode, Credentials, IssuedToken, Proof, Refusal};

use super::{Connection, Link};
use crate::action::{Action, AuthHeader};
use crate::request::{LoggedIn, LoginError, LoginId};
use crate::time::Time;
use crate::timers::Timer;

/// Credentials on their way to a token. They live here and nowhere else, and only until then.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) id: LoginId,
    pub(super) header: AuthHeader,
}

impl Connection {
    /// Logs in with credentials. A connection or attempt that is there is ended first. While the
    /// cloud cannot be reached the login waits, through any number of attempts; it is answered by
    /// [`Action::AnswerLogin`] when the cloud has refused it, when its token was given to the
    /// store, or when a newer login, a logout or a shutdown came first.
    pub fn handle_login(&mut self, now: Time, id: LoginId, credentials: Credentials) {
        if matches!(self.link, Link::Closed) {
            return self.answer(id, Err(LoginError::GivenUp("the end of the program")));
        }
        let request = AuthRequest {
            device_id: self.config.device_id.clone(),
            proof: Proof::Credentials(credentials),
        };
        match request.to_header(self.config.dialect) {
            Ok(header) => {
                self.give_up_login("a newer login");
                self.let_go(CloseCode::Normal);
                // Somebody is there and waits: what failed before does not count.
                self.backoff.reset();
                self.login = Some(Login { id, header: AuthHeader(header) });
                self.dial(now);
            }
            Err(error) => self.answer(id, Err(error.into())),
        }
    }

    /// Forgets the token, in memory and in the store, and ends the connection.
    pub fn handle_logout(&mut self) {
        if matches!(self.link, Link::Closed) {
            return;
        }
        self.give_up_login("a logout");
        self.let_go(CloseCode::Normal);
        self.forget_token();
        self.unregister();
    }

    pub(super) fn answer(&mut self, login: LoginId, result: Result<LoggedIn, LoginError>) {
        self.actions.push_back(Action::AnswerLogin { login, result });
    }

    pub(super) fn give_up_login(&mut self, for_what: &'static str) {
        let waiting = self.login.take().map(|login| login.id);
        for login in waiting.into_iter().chain(self.storing_for.take()) {
            self.answer(login, Err(LoginError::GivenUp(for_what)));
        }
    }

    pub(super) fn reject_login(&mut self, refusal: Refusal) {
        if let Some(login) = self.login.take() {
            self.answer(login.id, Err(LoginError::Rejected(refusal)));
        }
    }

    pub(super) fn forget_token(&mut self) {
        self.looking = None;
        self.timers.stop(Timer::Load);
        if let Some(order) = self.tokens.forget() {
            self.tell_store(order);
        }
    }

    pub(super) fn take_token(&mut self, token: IssuedToken) {
        self.looking = None;
        self.timers.stop(Timer::Load);
        self.timers.stop(Timer::Token);
        // A login that waits has the link to itself: the token is the one that it waits for.
        if let Some(login) = self.login.take() {
            self.storing_for = Some(login.id);
        }
        if let Some(order) = self.tokens.replace(token) {
            self.tell_store(order);
        }
    }
}
