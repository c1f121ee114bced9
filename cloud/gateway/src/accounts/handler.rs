//! A handler for devices that log in with the name and password of an account.

use std::sync::Arc;
use std::time::Duration;

use fedecks_protocol::Term;
use fedecks_store::AccountStore;

use super::passwords::{PasswordCheck, PasswordChecker};
use crate::auth::failed_logins::{FailedLogins, TooManyFailures};
use crate::handler::{Decision, Handler, Login, Outcome};
use crate::messaging::message::{Info, Message};
use crate::session::Session;

/// The handler of the ready-made server: anyone who knows an account's password can register devices, and
/// messages from and to devices are published on topics.
///
/// The credentials are a `username` and a `password`. Messages from a device are published on
/// `up.<device id>`, bytes as [`Term::Bytes`]; messages published on `down.<device id>` are sent to the
/// device.
#[derive(Debug)]
pub struct AccountHandler {
    accounts: Accounts,
    failed: FailedLogins,
}

/// Checks credentials against the accounts of a store.
struct Accounts {
    store: Arc<dyn AccountStore>,
    passwords: PasswordChecker,
}

/// When a device should retry if its password could not be checked.
const RETRY_AFTER: Duration = Duration::from_secs(10);

impl AccountHandler {
    /// A handler for the accounts of `store`; new accounts can be used immediately. Guessing passwords is
    /// slowed down by [`FailedLogins`] with its default limits.
    pub fn new(store: Arc<dyn AccountStore>) -> Self {
        let accounts = Accounts { store, passwords: PasswordChecker::new() };
        Self { accounts, failed: FailedLogins::default() }
    }

    /// Shares failed logins with other parts of a program.
    #[must_use]
    pub fn failed_logins(self, failed: FailedLogins) -> Self {
        Self { failed, ..self }
    }
}

impl Handler for AccountHandler {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        let account = login.credentials.text("username");
        let attempt = match self.failed.attempt(login.peer.map(|peer| peer.ip()), account) {
            Ok(attempt) => attempt,
            Err(TooManyFailures { retry_after }) => return Decision::RateLimited { retry_after },
        };
        let decision = self.accounts.check(login).await;
        match decision {
            Decision::Accept => attempt.succeeded(),
            Decision::Reject => attempt.failed(),
            Decision::Blocked | Decision::RateLimited { .. } | Decision::Unavailable { .. } => {}
        }
        decision
    }

    async fn connected(&self, session: &Session) {
        session.subscribe(format!("down.{}", session.device()));
    }

    async fn handle_in(&self, session: &Session, message: Term) -> Outcome {
        publish(session, message).await
    }

    async fn handle_raw_in(&self, session: &Session, bytes: Vec<u8>) -> Outcome {
        publish(session, Term::Bytes(bytes)).await
    }

    async fn handle_info(&self, _: &Session, info: Info) -> Outcome {
        Outcome::Send(info.message)
    }
}

async fn publish(session: &Session, term: Term) -> Outcome {
    let topic = format!("up.{}", session.device());
    if let Err(error) = session.hub().publish(topic, Message::from(term)).await {
        tracing::warn!(device = %session.device(), %error, "cannot publish a message from the device, dropped it");
    }
    Outcome::Ok
}

impl Accounts {
    async fn check(&self, Login { device, credentials, peer: _ }: Login<'_>) -> Decision {
        let unavailable = Decision::Unavailable { retry_after: RETRY_AFTER };
        let (Some(username), Some(password)) =
            (credentials.text("username"), credentials.text("password"))
        else {
            return Decision::Reject;
        };
        let hash = match self.store.password_hash(username).await {
            Ok(hash) => hash,
            Err(error) => {
                tracing::error!(%device, %error, "cannot read the account from the store");
                return unavailable;
            }
        };
        match self.passwords.check(password, hash).await {
            PasswordCheck::Match => Decision::Accept,
            PasswordCheck::Mismatch => Decision::Reject,
            PasswordCheck::QueueFull => {
                tracing::warn!(%device, "too many passwords are waiting to be checked");
                unavailable
            }
            PasswordCheck::InvalidHash => {
                tracing::error!(%device, "the password hash of the account in the store is invalid");
                unavailable
            }
        }
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fedecks_protocol::{Credentials, DeviceId};

    use super::*;
    use crate::accounts::hash_password;
    use crate::auth::failed_logins::FailedLoginLimits;
    use fedecks_store::{Actor, SqliteStore};

    async fn handler_with_marvin(hash: &str) -> AccountHandler {
        let store = SqliteStore::in_memory().unwrap();
        store.add_account("marvin", hash, &Actor::cli()).await.unwrap();
        AccountHandler::new(Arc::new(store))
    }

    async fn decide(handler: &AccountHandler, credentials: Credentials, address: u8) -> Decision {
        let device = &DeviceId::new("nerves-1").unwrap();
        let peer = Some(([192, 0, 2, address], 1).into());
        handler.authenticate(Login { device, credentials: &credentials, peer }).await
    }

    fn credentials(username: &str, password: &str) -> Credentials {
        Credentials::new().with("username", username).with("password", password)
    }

    #[tokio::test]
    async fn only_the_password_of_the_account_is_accepted() {
        let handler = handler_with_marvin(&hash_password("don't panic").unwrap()).await;
        for (address, (credentials, decision)) in (1..).zip([
            (credentials("marvin", "don't panic"), Decision::Accept),
            (credentials("marvin", "panic a lot"), Decision::Reject),
            (credentials("arthur", "don't panic"), Decision::Reject),
            (Credentials::new().with("username", "marvin"), Decision::Reject),
            (Credentials::new().with("username", "marvin").with("password", 42), Decision::Reject),
            (Credentials::new(), Decision::Reject),
        ]) {
            let shown = format!("{credentials:?}");
            assert_eq!(decide(&handler, credentials, address).await, decision, "{shown}");
        }
        let damaged = handler_with_marvin("damaged").await;
        let unavailable = Decision::Unavailable { retry_after: RETRY_AFTER };
        let credentials = credentials("marvin", "don't panic");
        assert_eq!(decide(&damaged, credentials, 1).await, unavailable, "not a rejection");
    }

    #[tokio::test]
    async fn too_many_guesses_block_even_the_right_password() {
        let limits = FailedLoginLimits { per_address: 2, per_account: 100 };
        let handler = handler_with_marvin(&hash_password("don't panic").unwrap()).await;
        let handler = handler.failed_logins(FailedLogins::new(limits));
        let wait = Decision::RateLimited { retry_after: Duration::from_secs(1) };
        let (attacker, other) = (1, 2);
        for (password, address, decision) in [
            ("panic a lot", attacker, Decision::Reject),
            ("panic more", attacker, Decision::Reject),
            ("don't panic", attacker, wait),
            ("don't panic", other, Decision::Accept),
        ] {
            let decided = decide(&handler, credentials("marvin", password), address).await;
            assert_eq!(decided, decision, "{password} from {address}");
        }
    }
}
