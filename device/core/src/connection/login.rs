//! Logins and logouts that wait for their answer. A login never costs the token that was there before:
//! only a token that the cloud hands out after it takes that one's place.

use fedecks_protocol::Refusal;

use super::output::Output;
use crate::action::{Action, AuthHeader};
use crate::request::{GiveUp, LoggedIn, LoginError, LoginId, LogoutId};

#[derive(Debug, Default)]
pub(super) struct Logins {
    waiting: Option<Login>,
    /// The login whose token is on its way to the store.
    storing: Option<LoginId>,
    /// They are answered when the store has been told everything.
    logouts: Vec<LogoutId>,
}

/// Credentials on their way to a token. They live here and nowhere else, and only until then.
#[derive(Debug)]
struct Login {
    id: LoginId,
    header: AuthHeader,
}

impl Logins {
    /// A new login takes the place of whatever waits.
    pub(super) fn begin(&mut self, id: LoginId, header: AuthHeader, out: &mut Output) {
        self.give_up(GiveUp::NewerLogin, out);
        self.waiting = Some(Login { id, header });
    }

    /// What to dial with, if a login waits for its token.
    pub(super) fn header(&self) -> Option<&AuthHeader> {
        self.waiting.as_ref().map(|login| &login.header)
    }

    /// The cloud said no to the credentials. False if no login waits, so that it spoke of the token.
    pub(super) fn reject(&mut self, refusal: Refusal, out: &mut Output) -> bool {
        let Some(login) = self.waiting.take() else { return false };
        answer(login.id, Err(LoginError::Rejected(refusal)), out);
        true
    }

    /// A token came. A login that waits has the link to itself: it is the one that it waits for.
    pub(super) fn on_token(&mut self) {
        if let Some(login) = self.waiting.take() {
            self.storing = Some(login.id);
        }
    }

    /// The store has been told everything, the last of it with this result.
    pub(super) fn on_stored(&mut self, result: &Result<(), String>, out: &mut Output) {
        if let Some(login) = self.storing.take() {
            answer(login, Ok(LoggedIn { persisted: result.is_ok() }), out);
        }
        for logout in self.logouts.drain(..) {
            out.push(Action::AnswerLogout { logout, result: result.clone() });
        }
    }

    pub(super) fn log_out(&mut self, id: LogoutId, out: &mut Output) {
        self.give_up(GiveUp::Logout, out);
        self.logouts.push(id);
    }

    pub(super) fn give_up(&mut self, for_what: GiveUp, out: &mut Output) {
        let waiting = self.waiting.take().map(|login| login.id);
        for login in waiting.into_iter().chain(self.storing.take()) {
            answer(login, Err(LoginError::GivenUp(for_what)), out);
        }
    }
}

pub(super) fn answer(login: LoginId, result: Result<LoggedIn, LoginError>, out: &mut Output) {
    out.push(Action::AnswerLogin { login, result });
}
