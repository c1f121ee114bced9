//! Logins and logouts, and the registration nonce by which the cloud knows that a login is the same one again.

use fedecks_protocol::{CloseCode, Credentials, NONCE_KEY, Proof};

use super::login::answer;
use super::unregistered::Unregistered;
use super::{Connection, Link};
use crate::action::{Action, AuthHeader};
use crate::nonce::Nonce;
use crate::request::{GiveUp, LoginError, LoginId, LogoutId};
use crate::time::Time;

impl Connection {
    /// Logs in with credentials. Ends a current connection or attempt first. While the cloud cannot be
    /// reached the login waits, for any number of attempts. [`Action::AnswerLogin`] follows when the
    /// cloud has refused it, when its token has been passed to the store, or when a newer login, a logout
    /// or the shutdown cancels it.
    ///
    /// Credentials without a registration nonce get one first, by [`Action::LoadNonce`]. Until then a current
    /// connection, attempt or login continues.
    pub fn handle_login(&mut self, now: Time, id: LoginId, credentials: Credentials) {
        let cx = &mut self.shared;
        let header = if matches!(self.link, Link::Closed) {
            Err(LoginError::GivenUp(GiveUp::Shutdown))
        } else {
            AuthHeader::new(&cx.config, Proof::Credentials(credentials.clone())).map_err(Into::into)
        };
        match header {
            Ok(_) if credentials.get(NONCE_KEY).is_none() => {
                cx.logins.prepare(id, credentials, &mut cx.out);
                cx.out.push(Action::LoadNonce { login: id });
            }
            Ok(header) => self.log_in(now, id, header),
            Err(error) => answer(id, Err(error), &mut cx.out),
        }
    }

    /// Handles the result of [`Action::LoadNonce`]. Ignored if the login is over.
    pub fn handle_nonce(&mut self, now: Time, login: LoginId, nonce: Nonce) {
        let cx = &mut self.shared;
        let Some(credentials) = cx.logins.take_prepared(login) else { return };
        let credentials = credentials.with(NONCE_KEY, nonce.to_string());
        match AuthHeader::new(&cx.config, Proof::Credentials(credentials)) {
            Ok(header) => self.log_in(now, login, header),
            Err(error) => answer(login, Err(error.into()), &mut cx.out),
        }
    }

    /// Forgets the token and the nonce, in memory and in the store, and ends the connection.
    /// [`Action::AnswerLogout`] follows when the store has executed all commands. Ignored without an answer after
    /// the shutdown.
    pub fn handle_logout(&mut self, id: LogoutId) {
        if matches!(self.link, Link::Closed) {
            return;
        }
        self.shared.logins.log_out(id, &mut self.shared.out);
        self.close_locally(CloseCode::Normal);
        let cx = &mut self.shared;
        cx.out.push(Action::ForgetNonce);
        cx.tokens.forget(&mut cx.out);
        self.link = Link::Unregistered(Unregistered::begin(cx));
    }

    fn log_in(&mut self, now: Time, id: LoginId, header: AuthHeader) {
        let cx = &mut self.shared;
        cx.logins.begin(id, header, &mut cx.out);
        self.dial_now(now);
    }
}
