//! A handler for devices that log in with the name and password of an account.

use std::sync::Arc;
use std::time::Duration;

use fedecks_edge::RateLimitKey;
use fedecks_protocol::{DeviceId, Term};
use fedecks_store::AccountStore;
use tracing::Instrument;

use super::passwords::{PasswordCheck, PasswordChecker};
use super::turns::Asker;
use crate::auth::failed_logins::{Attempt, FailedLogins, TooManyFailures};
use crate::handler::{Decision, Handler, Login, Outcome};
use crate::messaging::message::{Message, Published};
use crate::session::Session;

/// The handler of the ready-made server: anyone who knows an account's password can register devices, and
/// messages from and to devices are published on topics.
///
/// The credentials are a `username` and a `password`. Messages from a device are published on
/// `up.<device id>`, bytes as [`Term::Bytes`]; messages published on `down.<device id>` are sent to the
/// device.
#[derive(Debug)]
pub struct AccountHandler {
    accounts: Arc<Accounts>,
    failed: FailedLogins,
}

/// Checks credentials against the accounts of a store.
struct Accounts {
    store: Arc<dyn AccountStore>,
    passwords: PasswordChecker,
}

/// A login whose password is to be checked.
struct Check {
    device: DeviceId,
    username: String,
    password: String,
    asker: Asker,
    attempt: Attempt,
}

/// When a device should retry if its password could not be checked.
const RETRY_AFTER: Duration = Duration::from_secs(10);

const UNAVAILABLE: Decision = Decision::Unavailable { retry_after: RETRY_AFTER };

impl AccountHandler {
    /// A handler for the accounts of `store`; new accounts can be used immediately. Guessing passwords is
    /// slowed down by [`FailedLogins`] with its default limits.
    pub fn new(store: Arc<dyn AccountStore>) -> Self {
        let accounts = Arc::new(Accounts { store, passwords: PasswordChecker::new() });
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
        let Login { device, credentials, peer, .. } = login;
        let address = peer.map(|peer| peer.ip());
        let username = credentials.text("username");
        let attempt = match self.failed.attempt(address, username) {
            Ok(attempt) => attempt,
            Err(TooManyFailures { retry_after }) => return Decision::RateLimited { retry_after },
        };
        let (Some(username), Some(password)) = (username, credentials.text("password")) else {
            attempt.failed();
            tracing::info!(%device, "rejected a login without the texts username and password");
            return Decision::Reject;
        };
        let check = Check {
            device: device.clone(),
            username: username.to_owned(),
            password: password.to_owned(),
            asker: Asker { address: address.map(RateLimitKey::of), known: attempt.is_known() },
            attempt,
        };
        // A separate task: if the device hangs up, this future is dropped, but the check has its price
        // and its result.
        let checked = tokio::spawn(self.accounts.clone().check(check).in_current_span()).await;
        checked.unwrap_or(UNAVAILABLE)
    }

    async fn on_connect(&self, session: &Session) {
        session.subscribe(format!("down.{}", session.device()));
    }

    async fn on_message(&self, session: &Session, message: Term) -> Outcome {
        publish(session, message).await
    }

    async fn on_raw(&self, session: &Session, bytes: Vec<u8>) -> Outcome {
        publish(session, Term::Bytes(bytes)).await
    }

    async fn on_published(&self, _: &Session, published: Published) -> Outcome {
        Outcome::Send(published.message)
    }
}

async fn publish(session: &Session, term: Term) -> Outcome {
    let topic = format!("up.{}", session.device());
    if let Err(error) = session.hub().publish_message(topic, &Message::from(term)).await {
        tracing::warn!(device = %session.device(), %error, "cannot publish a message from the device, dropped it");
    }
    Outcome::Ok
}

impl Accounts {
    async fn check(self: Arc<Self>, check: Check) -> Decision {
        let Check { device, username, password, asker, attempt } = check;
        let hash = match self.store.password_hash(&username).await {
            Ok(hash) => hash,
            Err(error) => {
                tracing::error!(%device, %error, "cannot read the account from the store");
                attempt.withdrawn();
                return UNAVAILABLE;
            }
        };
        match self.passwords.check(asker, password, hash).await {
            PasswordCheck::Match => {
                attempt.succeeded();
                Decision::Accept
            }
            PasswordCheck::Mismatch => {
                attempt.failed();
                Decision::Reject
            }
            PasswordCheck::QueueFull => {
                tracing::warn!(%device, "too many passwords are waiting to be checked");
                attempt.withdrawn();
                UNAVAILABLE
            }
            PasswordCheck::InvalidHash => {
                tracing::error!(%device, "the password hash of the account in the store is invalid");
                attempt.withdrawn();
                UNAVAILABLE
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
        handler
            .authenticate(Login { device, credentials: &credentials, peer, certificate: None })
            .await
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
    async fn a_login_that_is_dropped_is_checked_and_counted() {
        let limits = FailedLoginLimits { per_address: 2, per_account: 100 };
        let handler = handler_with_marvin(&hash_password("don't panic").unwrap()).await;
        let handler = handler.failed_logins(FailedLogins::new(limits));
        for _ in 0..2 {
            let mut login = Box::pin(decide(&handler, credentials("marvin", "panic a lot"), 1));
            assert!(futures_util::FutureExt::now_or_never(&mut login).is_none());
        }
        fedecks_testing::wait::until(async || {
            let decided = decide(&handler, credentials("marvin", "don't panic"), 1).await;
            matches!(decided, Decision::RateLimited { .. }).then_some(())
        })
        .await;
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
