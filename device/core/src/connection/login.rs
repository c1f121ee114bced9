//! Logins and logouts that have not been answered yet. A login never loses the previous token: only a
//! token that the cloud issues for it replaces that one.

use fedecks_protocol::{Credentials, Refusal};

use super::output::Output;
use crate::action::{Action, AuthHeader};
use crate::request::{GiveUp, LoggedIn, LoginError, LoginId, LogoutId};

#[derive(Debug, Default)]
pub(super) struct Logins {
    /// The newest, while its nonce is loaded.
    preparing: Option<(LoginId, Credentials)>,
    waiting: Option<Login>,
    /// The login whose token is being saved.
    storing: Option<LoginId>,
    /// The newest, answered with all before it when the store has executed all commands.
    logout: Option<LogoutId>,
}

/// Credentials, kept only here and only until the token arrives.
#[derive(Debug)]
struct Login {
    id: LoginId,
    header: AuthHeader,
}

impl Logins {
    /// Keeps a login until it has a nonce. It replaces only one that waits for the same.
    pub(super) fn prepare(&mut self, id: LoginId, credentials: Credentials, out: &mut Output) {
        if let Some((login, _)) = self.preparing.replace((id, credentials)) {
            answer(login, Err(LoginError::GivenUp(GiveUp::NewerLogin)), out);
        }
    }

    /// The credentials of the login, if it is the one that waits for its nonce.
    pub(super) fn take_prepared(&mut self, id: LoginId) -> Option<Credentials> {
        self.preparing.take_if(|(login, _)| *login == id).map(|(_, credentials)| credentials)
    }

    /// Starts a login, which replaces any other.
    pub(super) fn begin(&mut self, id: LoginId, header: AuthHeader, out: &mut Output) {
        self.cancel(GiveUp::NewerLogin, out);
        self.waiting = Some(Login { id, header });
    }

    /// The header of the login that waits for its token.
    pub(super) fn header(&self) -> Option<&AuthHeader> {
        self.waiting.as_ref().map(|login| &login.header)
    }

    /// Fails the waiting login. Returns false if there is none, so that the refusal is about the token.
    pub(super) fn reject(&mut self, refusal: Refusal, out: &mut Output) -> bool {
        let Some(login) = self.waiting.take() else { return false };
        answer(login.id, Err(LoginError::Rejected(refusal)), out);
        true
    }

    /// Handles a token. It belongs to the waiting login, because no other link can exist.
    pub(super) fn on_token(&mut self) {
        if let Some(login) = self.waiting.take() {
            self.storing = Some(login.id);
        }
    }

    /// Handles that the store has executed all commands, the last one with this result.
    pub(super) fn on_stored(&mut self, result: &Result<(), String>, out: &mut Output) {
        if let Some(login) = self.storing.take() {
            answer(login, Ok(LoggedIn { persisted: result.is_ok() }), out);
        }
        if let Some(logout) = self.logout.take() {
            out.push(Action::AnswerLogout { logout, result: result.clone() });
        }
    }

    pub(super) fn log_out(&mut self, id: LogoutId, out: &mut Output) {
        self.cancel(GiveUp::Logout, out);
        self.logout = Some(id);
    }

    pub(super) fn cancel(&mut self, by: GiveUp, out: &mut Output) {
        let preparing = self.preparing.take().map(|(login, _)| login);
        let waiting = self.waiting.take().map(|login| login.id);
        for login in waiting.into_iter().chain(self.storing.take()).chain(preparing) {
            answer(login, Err(LoginError::GivenUp(by)), out);
        }
    }
}

pub(super) fn answer(login: LoginId, result: Result<LoggedIn, LoginError>, out: &mut Output) {
    out.push(Action::AnswerLogin { login, result });
}
