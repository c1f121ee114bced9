//! Who is signed in to the dashboard. Cookies and checks of requests are in `http/browser_session`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use fedecks_cloud::auth::{ApiTokens, InvalidApiToken};
use fedecks_store::ApiToken;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use tokio::time::Instant;

/// The sessions of the dashboard. A session stands for the API token that it was begun with: it allows
/// what that token allows, and ends with it. Clones share the same sessions.
#[derive(Clone)]
pub(crate) struct DashboardSessions(Arc<Shared>);

struct Shared {
    tokens: ApiTokens,
    /// By the hash of the cookie's value, so that the time of a lookup reveals nothing about it.
    sessions: Mutex<HashMap<SessionId, Session>>,
}

/// Names a session. It cannot be used as its cookie.
pub(crate) type SessionId = [u8; 32];

struct Session {
    token: Arc<ApiToken>,
    csrf: String,
    began: Instant,
    used: Instant,
}

/// A valid session.
pub(crate) struct SignedIn {
    pub(crate) token: Arc<ApiToken>,
    pub(crate) id: SessionId,
    pub(crate) csrf: String,
}

/// What a browser keeps of a new session.
pub(crate) struct NewSession {
    /// The cookie's value.
    pub(crate) secret: String,
    pub(crate) csrf: String,
}

/// How long a session lasts.
pub(crate) const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// How long it lasts without a request.
const IDLE: Duration = Duration::from_secs(3600);

/// How many sessions a token may have; a new one ends the oldest. There are at most 1,000 tokens.
const PER_TOKEN: usize = 20;

impl DashboardSessions {
    pub(crate) fn new(tokens: ApiTokens) -> Self {
        Self(Arc::new(Shared { tokens, sessions: Mutex::default() }))
    }

    /// Begins a session for a browser that has presented this token.
    pub(crate) fn begin(&self, token: Arc<ApiToken>) -> NewSession {
        let new = NewSession { secret: random(), csrf: random() };
        let now = Instant::now();
        let mut sessions = self.0.sessions.lock();
        sessions.retain(|_, session| session.lasts(now));
        let of_token = sessions.iter().filter(|(_, other)| other.token.name == token.name);
        if of_token.clone().count() >= PER_TOKEN {
            if let Some(id) = of_token.min_by_key(|(_, other)| other.used).map(|(id, _)| *id) {
                sessions.remove(&id);
            }
        }
        let session = Session { token, csrf: new.csrf.clone(), began: now, used: now };
        sessions.insert(id_of(&new.secret), session);
        new
    }

    /// The valid session of this cookie's value. This counts as a use. While the clock is behind, the
    /// session of a token that has an end is kept, and is an error.
    pub(crate) fn find(&self, secret: &str) -> Result<Option<SignedIn>, InvalidApiToken> {
        let id = id_of(secret);
        let now = Instant::now();
        let mut sessions = self.0.sessions.lock();
        let Some(session) = sessions.get_mut(&id) else { return Ok(None) };
        match session.check(now, &self.0.tokens) {
            Ok(()) => {}
            Err(InvalidApiToken::ClockBehind) => return Err(InvalidApiToken::ClockBehind),
            Err(InvalidApiToken::Unknown | InvalidApiToken::Expired | _) => {
                sessions.remove(&id);
                return Ok(None);
            }
        }
        session.used = now;
        Ok(Some(SignedIn { token: session.token.clone(), id, csrf: session.csrf.clone() }))
    }

    /// Whether a session is valid. This does not count as a use.
    pub(crate) fn is_valid(&self, id: &SessionId) -> bool {
        let sessions = self.0.sessions.lock();
        let now = Instant::now();
        sessions.get(id).is_some_and(|session| session.check(now, &self.0.tokens).is_ok())
    }

    pub(crate) fn end(&self, id: &SessionId) {
        self.0.sessions.lock().remove(id);
    }
}

impl Session {
    /// Requires that the same token still exists, and not only a new one with its name.
    fn check(&self, now: Instant, tokens: &ApiTokens) -> Result<(), InvalidApiToken> {
        if !self.lasts(now) {
            return Err(InvalidApiToken::Expired);
        }
        let same = tokens.get(&self.token.name)?.hash == self.token.hash;
        if same { Ok(()) } else { Err(InvalidApiToken::Unknown) }
    }

    fn lasts(&self, now: Instant) -> bool {
        now.duration_since(self.began) < LIFETIME && now.duration_since(self.used) < IDLE
    }
}

fn id_of(secret: &str) -> SessionId {
    let mut id = SessionId::default();
    id.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    id
}

fn random() -> String {
    BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use fedecks_store::{Actor, ApiSecret, Clock, NewApiToken, Roles, SqliteStore};
    use tokio::time::{advance, pause};

    use super::*;

    struct Fixture {
        sessions: DashboardSessions,
        tokens: ApiTokens,
    }

    impl Fixture {
        /// With the tokens `a` and `b`.
        async fn new() -> Self {
            let store = Arc::new(SqliteStore::in_memory().unwrap());
            let tokens = ApiTokens::load(store, Clock::system()).await.unwrap();
            let fixture = Self { sessions: DashboardSessions::new(tokens.clone()), tokens };
            fixture.add_token("a").await;
            fixture.add_token("b").await;
            fixture
        }

        async fn add_token(&self, name: &str) {
            let (name, secret) = (name.to_owned(), ApiSecret::generate());
            let roles = Roles::default();
            let token = NewApiToken { name, secret, roles, devices: None, expires_at: None };
            self.tokens.add(&token, &Actor::cli()).await.unwrap();
        }

        /// Begins a session; its cookie's value.
        fn begin(&self, token: &str) -> String {
            self.sessions.begin(self.tokens.get(token).unwrap()).secret
        }

        fn is_found(&self, secret: &str) -> bool {
            self.sessions.find(secret).unwrap().is_some()
        }
    }

    #[tokio::test]
    async fn a_session_lasts_twelve_hours_or_one_without_a_request() {
        let fixture = Fixture::new().await;
        pause();
        let (used, idle) = (fixture.begin("a"), fixture.begin("a"));
        for _ in 0..12 {
            advance(IDLE - Duration::from_secs(1)).await;
            assert!(fixture.is_found(&used));
        }
        assert!(!fixture.is_found(&idle));
        advance(Duration::from_secs(12)).await;
        assert!(!fixture.is_found(&used));
        let (watched, _unused) = (fixture.begin("a"), fixture.begin("a"));
        let id = fixture.sessions.find(&watched).unwrap().unwrap().id;
        advance(IDLE / 2).await;
        // A stream that stays open does not count as a use.
        assert!(fixture.sessions.is_valid(&id));
        advance(IDLE / 2).await;
        assert!(!fixture.sessions.is_valid(&id) && !fixture.is_found(&watched));
        fixture.begin("a");
        assert_eq!(fixture.sessions.0.sessions.lock().len(), 1);
    }

    #[tokio::test]
    async fn a_token_above_its_sessions_loses_the_longest_unused() {
        let fixture = Fixture::new().await;
        pause();
        let other = fixture.begin("b");
        let mut secrets = Vec::new();
        for _ in 0..PER_TOKEN {
            secrets.push(fixture.begin("a"));
            advance(Duration::from_secs(1)).await;
        }
        assert!(fixture.is_found(&secrets[0]));
        fixture.begin("a");
        let ended: Vec<_> =
            (0..PER_TOKEN).filter(|one| !fixture.is_found(&secrets[*one])).collect();
        assert_eq!(ended, [1]);
        assert!(fixture.is_found(&other));
    }

    #[tokio::test]
    async fn a_session_ends_with_its_token_even_if_the_name_is_reused() {
        let fixture = Fixture::new().await;
        let session = fixture.begin("a");
        fixture.tokens.revoke("a", &Actor::cli()).await.unwrap();
        fixture.add_token("a").await;
        assert!(!fixture.is_found(&session));
    }
}
