//! A handler for devices that log in with a claim, or with the name and password of an account.

use std::sync::Arc;

use fedecks_edge::RateLimitKey;
use fedecks_protocol::{CLAIM_KEY, Credentials, NONCE_KEY, Refusal, Term};
use fedecks_store::{
    AccountStore, ClaimSecret, ClaimStore, DeviceStore, RegisteredBy, RegistrationProof,
    RegistrationRequest, RegistrationStore,
};
use tracing::Instrument;

use super::certificate::CertificateLogins;
use super::passwords::{PasswordCheck, PasswordChecker};
use super::registration::{Registrar, RegistrationObserver, UNAVAILABLE};
use super::turns::Asker;
use crate::auth::CertificateLogin;
use crate::auth::failed_logins::{Attempt, FailedLogins, TooManyFailures};
use crate::handler::{Decision, Handler, Login, Outcome};
use crate::messaging::message::{Message, Published};
use crate::session::Session;

/// The handler of the ready-made server: devices register with a claim, with the password of an account, or by their client
/// certificate alone if the listener's [rules](crate::auth::CertificateRules) permit it; and messages from and to devices
/// are published on topics.
///
/// The credentials are a `claim`, or a `username` and a `password`, and with either the registration `nonce` that the
/// device library adds. What is good for several ids registers new ones only: an id that exists is registered again as
/// [`RegistrationStore::register`] says. For logins that anybody may repeat, as in trials, there is
/// [`AccountHandler::may_reregister`].
///
/// Messages from a device are published on `up.<device id>`, bytes as [`Term::Bytes`]; messages published on
/// `down.<device id>` are sent to the device.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use fedecks_cloud::accounts::AccountHandler;
/// use fedecks_cloud::store::{Actor, ClaimStore, NewClaim, SqliteStore};
/// use fedecks_cloud::{Fedecks, Keyring};
///
/// # async fn example(keyring: Keyring) -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(SqliteStore::open("fedecks.sqlite")?);
/// let claim = NewClaim { uses: 1000, ..NewClaim::new("pump-*".parse()?) };
/// store.add_claims(std::slice::from_ref(&claim), &Actor::cli()).await?;
/// println!("for provision.toml: claim = {:?}", claim.secret.expose());
/// let fedecks = Fedecks::builder(AccountHandler::new(store.clone()), keyring, store).build().await?;
/// # drop(fedecks);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct AccountHandler {
    accounts: Arc<Accounts>,
    certificates: Arc<CertificateLogins>,
    failed: FailedLogins,
}

/// Checks credentials against the accounts and claims of a store.
struct Accounts {
    store: Arc<dyn AccountStore>,
    passwords: PasswordChecker,
    registrar: Registrar,
}

/// A login whose password is to be checked.
struct Check {
    username: String,
    password: String,
    asker: Asker,
    attempt: Attempt,
}

impl AccountHandler {
    /// A handler for the accounts and claims of `store`; new ones can be used immediately. It has to be the store of the
    /// cloud's devices. Guessing passwords is slowed down by [`FailedLogins`] with its default limits.
    pub fn new<S>(store: Arc<S>) -> Self
    where
        S: AccountStore + ClaimStore + RegistrationStore + DeviceStore,
    {
        let registrar = Registrar::new(store.clone(), store.clone());
        let certificates = Arc::new(CertificateLogins::new(store.clone(), store.clone()));
        let accounts = Accounts { store, passwords: PasswordChecker::new(), registrar };
        Self { accounts: Arc::new(accounts), certificates, failed: FailedLogins::default() }
    }

    /// Shares failed logins with other parts of a program.
    #[must_use]
    pub fn failed_logins(self, failed: FailedLogins) -> Self {
        Self { failed, ..self }
    }

    /// Whether anyone who knows the password of an account, or a claim, may take any id that it is good for, in use or not.
    /// For trials only; not by default.
    #[must_use]
    pub fn may_reregister(self, allowed: bool) -> Self {
        self.change(|registrar| registrar.may_reregister(allowed))
    }

    /// Has an observer told of registrations, and of what was refused to known accounts and claims.
    #[must_use]
    pub fn observer(self, observer: Arc<dyn RegistrationObserver>) -> Self {
        self.change(|registrar| registrar.observer(observer))
    }

    fn change(mut self, change: impl FnOnce(&mut Registrar)) -> Self {
        // No login is in progress: this is the only reference.
        if let Some(accounts) = Arc::get_mut(&mut self.accounts) {
            change(&mut accounts.registrar);
        }
        self
    }

    /// Keeps the key of the certificate that the device of a session has presented, if it has. For handlers that call
    /// this one's `authenticate` only; this one does it in `on_connect`.
    pub fn keep_certificate(&self, session: &Session) {
        self.certificates.clone().keep(session);
    }

    /// Logs in by a certificate alone, where the listener has a use for that.
    async fn by_certificate(
        &self,
        login: Login<'_>,
        certificate: CertificateLogin<'_>,
    ) -> Decision {
        let CertificateLogin { certificate, rules } = certificate;
        let key = certificate.key;
        let request = request(login, RegistrationProof::Certificate { key });
        let (accounts, certificates) = (self.accounts.clone(), self.certificates.clone());
        spawned(async move { certificates.judge(&accounts.registrar, request, key, rules).await })
            .await
    }

    /// Logs in by a claim. A right one waits for nothing that others at its address have done.
    async fn by_claim(&self, login: Login<'_>) -> Decision {
        let secret = login.credentials.text(CLAIM_KEY).map(str::parse::<ClaimSecret>);
        let found = match secret {
            Some(Ok(secret)) => {
                let hash = secret.hash();
                let found = self.accounts.registrar.claims.claim_by_hash(&hash).await;
                found.map(|claim| claim.map(|claim| (hash, RegisteredBy::Claim(claim.id))))
            }
            Some(Err(_)) | None => Ok(None),
        };
        let device = login.device;
        let (hash, by) = match found {
            Ok(Some(found)) => found,
            Ok(None) => {
                return match self.failed.attempt(login.peer.map(|peer| peer.ip()), None) {
                    Ok(attempt) => {
                        attempt.failed();
                        tracing::info!(%device, "rejected a login with an unknown claim");
                        Decision::Reject
                    }
                    Err(TooManyFailures { retry_after }) => Decision::RateLimited { retry_after },
                };
            }
            Err(error) => {
                tracing::error!(%device, %error, "cannot read the claim from the store");
                return UNAVAILABLE;
            }
        };
        let request = request(login, RegistrationProof::Claim(hash));
        let accounts = self.accounts.clone();
        spawned(async move { accounts.registrar.register(request, &by).await }).await
    }

    async fn by_account(&self, login: Login<'_>) -> Decision {
        let Login { device, credentials, peer, .. } = login;
        let address = peer.map(|peer| peer.ip());
        let username = credentials.text("username");
        let attempt = match self.failed.attempt(address, username) {
            Ok(attempt) => attempt,
            Err(TooManyFailures { retry_after }) => return Decision::RateLimited { retry_after },
        };
        let (Some(username), Some(password)) = (username, credentials.text("password")) else {
            attempt.failed();
            tracing::info!(
                %device,
                "rejected a login with neither a claim nor the texts username and password"
            );
            return Decision::Reject;
        };
        let check = Check {
            username: username.to_owned(),
            password: password.to_owned(),
            asker: Asker { address: address.map(RateLimitKey::of), known: attempt.is_known() },
            attempt,
        };
        let request = request(login, RegistrationProof::Account(username.to_owned()));
        spawned(self.accounts.clone().check(request, check)).await
    }
}

/// Runs a login in a separate task: if the device hangs up, the future of the login is dropped, but the check has its
/// price and its result.
async fn spawned(login: impl Future<Output = Decision> + Send + 'static) -> Decision {
    tokio::spawn(login.in_current_span()).await.unwrap_or(UNAVAILABLE)
}

/// The registration that a login asks for.
fn request(login: Login<'_>, proof: RegistrationProof) -> RegistrationRequest {
    let Login { device, credentials, peer, in_use, at, .. } = login;
    RegistrationRequest {
        device: device.clone(),
        proof,
        nonce: credentials.text(NONCE_KEY).and_then(|nonce| nonce.parse().ok()),
        address: peer.map(|peer| peer.ip().to_canonical()),
        at,
        in_use,
        may_reregister: false,
    }
}

/// Whether the credentials are a claim, right or wrong.
fn is_claim(credentials: &Credentials) -> bool {
    credentials.get(CLAIM_KEY).is_some()
}

impl Handler for AccountHandler {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        let certificate = login.certificate.filter(|certificate| {
            login.is_certificate_alone()
                && (certificate.rules.register || certificate.rules.replaces_token)
        });
        if let Some(certificate) = certificate {
            self.by_certificate(login, certificate).await
        } else if is_claim(login.credentials) {
            self.by_claim(login).await
        } else {
            self.by_account(login).await
        }
    }

    async fn on_connect(&self, session: &Session) {
        self.keep_certificate(session);
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
    async fn check(self: Arc<Self>, request: RegistrationRequest, check: Check) -> Decision {
        let Check { username, password, asker, attempt } = check;
        let device = &request.device;
        let hash = match self.store.password_hash(&username).await {
            Ok(hash) => hash,
            Err(error) => {
                tracing::error!(%device, %error, "cannot read the account from the store");
                attempt.withdrawn();
                return UNAVAILABLE;
            }
        };
        let exists = hash.is_some();
        let by = RegisteredBy::Account(username);
        match self.passwords.check(asker, password, hash).await {
            PasswordCheck::Match => {
                attempt.succeeded();
                self.registrar.register(request, &by).await
            }
            PasswordCheck::Mismatch => {
                attempt.failed();
                // What is not the name of an account may be a password in the wrong place.
                if exists {
                    self.registrar.refused(device, &by, Refusal::BadCredentials, "wrong-password");
                } else {
                    tracing::info!(%device, "rejected a login with an unknown account");
                }
                Decision::Reject
            }
            PasswordCheck::QueueFull => {
                tracing::warn!(%device, "too many passwords are waiting to be checked");
                attempt.withdrawn();
                UNAVAILABLE
            }
            PasswordCheck::InvalidHash => {
                tracing::error!(%device, %by, "the password hash of the account in the store is invalid");
                attempt.withdrawn();
                UNAVAILABLE
            }
        }
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").field("registrar", &self.registrar).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fedecks_protocol::{Credentials, DeviceId};

    use super::*;
    use crate::accounts::hash_password;
    use crate::auth::failed_logins::FailedLoginLimits;
    use fedecks_store::{Actor, SqliteStore};

    const ACCEPTED: Decision = Decision::AcceptAt { generation: 0 };

    async fn handler_with_marvin(hash: &str) -> AccountHandler {
        let store = SqliteStore::in_memory().unwrap();
        store.add_account("marvin", hash, &Actor::cli()).await.unwrap();
        AccountHandler::new(Arc::new(store))
    }

    async fn decide(handler: &AccountHandler, credentials: Credentials, address: u8) -> Decision {
        let device = &DeviceId::new("nerves-1").unwrap();
        let peer = Some(([192, 0, 2, address], 1).into());
        let (credentials, certificate) = (&credentials, None);
        let login = Login { device, credentials, peer, certificate, in_use: false, at: 1000 };
        handler.authenticate(login).await
    }

    fn credentials(username: &str, password: &str) -> Credentials {
        Credentials::new().with("username", username).with("password", password)
    }

    #[tokio::test]
    async fn only_the_password_of_the_account_is_accepted() {
        let handler = handler_with_marvin(&hash_password("don't panic").unwrap()).await;
        for (address, (credentials, decision)) in (1..).zip([
            (credentials("marvin", "don't panic"), ACCEPTED),
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
        let credentials = credentials("marvin", "don't panic");
        assert_eq!(decide(&damaged, credentials, 1).await, UNAVAILABLE, "not a rejection");
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
            ("don't panic", other, ACCEPTED),
        ] {
            let decided = decide(&handler, credentials("marvin", password), address).await;
            assert_eq!(decided, decision, "{password} from {address}");
        }
    }
}
