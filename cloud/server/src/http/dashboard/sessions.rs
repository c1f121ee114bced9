//! Who is signed in to the dashboard.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use fedecks_cloud::auth::ApiTokens;
use fedecks_store::ApiToken;
use http::header::{COOKIE, HOST, ORIGIN};
use http::{HeaderMap, Method};
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::http::problem::{Code, Problem};

/// Who is signed in to the dashboard. A session stands for the API token that it was begun with: it
/// allows what that allows, and ends with it. Clones share the same memory.
#[derive(Clone)]
pub(crate) struct Sessions(Arc<Inner>);

struct Inner {
    tokens: ApiTokens,
    /// By the hash of what the cookie says, so that no time tells anything of it.
    sessions: Mutex<HashMap<Id, Session>>,
}

/// Names a session without being good for anything.
type Id = [u8; 32];

struct Session {
    token: Arc<ApiToken>,
    csrf: String,
    began: Instant,
    used: Instant,
}

/// A session that is good.
pub(crate) struct SignedIn {
    pub(crate) token: Arc<ApiToken>,
    pub(crate) id: Id,
    pub(crate) csrf: String,
}

/// What a browser is to keep of a session that has begun.
pub(crate) struct Begun {
    /// What the cookie says.
    pub(crate) secret: String,
    pub(crate) csrf: String,
}

/// The cookie's name where the connection is encrypted: browsers then take it from nobody else.
const SECURE_COOKIE: &str = "__Host-fedecks";
const COOKIE_NAME: &str = "fedecks";

/// The header that says that a script of the dashboard itself asks.
const CSRF: &str = "x-csrf-token";

/// How long a session lasts, and how long without a request.
pub(crate) const LIFETIME: Duration = Duration::from_secs(12 * 3600);
const IDLE: Duration = Duration::from_secs(3600);

/// How many sessions a token may have: the oldest ends for a new one. There are at most 1,000 tokens.
const PER_TOKEN: usize = 20;

impl Sessions {
    pub(crate) fn new(tokens: ApiTokens) -> Self {
        Self(Arc::new(Inner { tokens, sessions: Mutex::default() }))
    }

    /// Begins a session for whoever has shown this token.
    pub(crate) fn begin(&self, token: Arc<ApiToken>) -> Begun {
        let begun = Begun { secret: random(), csrf: random() };
        let now = Instant::now();
        let session = Session { token, csrf: begun.csrf.clone(), began: now, used: now };
        let mut sessions = self.lock();
        sessions.retain(|_, session| session.lasts(now));
        let of_token = |other: &Session| other.token.name == session.token.name;
        if sessions.values().filter(|other| of_token(other)).count() >= PER_TOKEN {
            let oldest = sessions.iter().filter(|(_, other)| of_token(other));
            if let Some(id) = oldest.min_by_key(|(_, other)| other.used).map(|(id, _)| *id) {
                sessions.remove(&id);
            }
        }
        sessions.insert(id_of(&begun.secret), session);
        begun
    }

    /// The session of a request, if it has one that is good. It counts as used.
    pub(crate) fn find(&self, headers: &HeaderMap) -> Option<SignedIn> {
        let id = id_of(cookie(headers)?);
        let now = Instant::now();
        let mut sessions = self.lock();
        let session = sessions.get_mut(&id)?;
        if !session.lasts(now) || !session.allowed(&self.0.tokens) {
            sessions.remove(&id);
            return None;
        }
        session.used = now;
        Some(SignedIn { token: session.token.clone(), id, csrf: session.csrf.clone() })
    }

    /// Whether a session is good. That does not count as a use.
    pub(crate) fn is_good(&self, id: &Id) -> bool {
        let sessions = self.lock();
        let session = sessions.get(id);
        session
            .is_some_and(|session| session.lasts(Instant::now()) && session.allowed(&self.0.tokens))
    }

    pub(crate) fn end(&self, id: &Id) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Session>> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SignedIn {
    /// Refuses what another site has the browser ask for: what changes something takes the session's
    /// CSRF token in a header, which only a script of the dashboard can have.
    pub(crate) fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        same_origin(headers)?;
        if method.is_safe() {
            return Ok(());
        }
        let presented = headers.get(CSRF).map_or(&b""[..], |value| value.as_bytes());
        if presented.ct_eq(self.csrf.as_bytes()).into() {
            return Ok(());
        }
        let detail = format!("expected the header {CSRF} with the session's CSRF token");
        Err(Problem::new(Code::CrossSite, detail))
    }
}

impl Session {
    fn lasts(&self, now: Instant) -> bool {
        now.duration_since(self.began) < LIFETIME && now.duration_since(self.used) < IDLE
    }

    /// Whether the very token is there, and not another one of its name.
    fn allowed(&self, tokens: &ApiTokens) -> bool {
        tokens.get(&self.token.name).is_some_and(|token| token.hash == self.token.hash)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

/// Refuses what a browser says to come from another site. What is no browser says nothing.
pub(super) fn same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |value: Option<&http::HeaderValue>| {
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let same = match (text(headers.get("sec-fetch-site")), text(headers.get(ORIGIN))) {
        // `none` is somebody who typed the address.
        (Some(site), _) => site == "same-origin" || site == "none",
        // Browsers don't say it where nothing is encrypted.
        (None, Some(origin)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some() && authority == text(headers.get(HOST)).as_deref()
        }
        (None, None) => true,
    };
    let detail = "expected a request of the dashboard's own page";
    if same { Ok(()) } else { Err(Problem::new(Code::CrossSite, detail)) }
}

/// The header that gives a browser the cookie.
pub(super) fn set_cookie(secret: &str, encrypted: bool) -> String {
    let (name, secure) = if encrypted { (SECURE_COOKIE, "; Secure") } else { (COOKIE_NAME, "") };
    let age = LIFETIME.as_secs();
    format!("{name}={secret}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}")
}

/// The header that takes it away.
pub(super) fn remove_cookie(encrypted: bool) -> String {
    let (name, secure) = if encrypted { (SECURE_COOKIE, "; Secure") } else { (COOKIE_NAME, "") };
    format!("{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{secure}")
}

/// What the session's cookie says, if there is one.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|value| value.split(';')).filter_map(|one| one.split_once('='));
    pairs.find_map(|(name, value)| {
        let ours = [SECURE_COOKIE, COOKIE_NAME].contains(&name.trim());
        (ours && !value.trim().is_empty()).then(|| value.trim())
    })
}

fn id_of(secret: &str) -> Id {
    let mut id = Id::default();
    id.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    id
}

fn random() -> String {
    BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use fedecks_store::{Actor, ApiSecret, NewApiToken, Roles, SqliteStore};
    use http::HeaderValue;
    use tokio::time::{advance, pause};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    async fn sessions(names: &[&str]) -> (Sessions, ApiTokens) {
        let tokens = ApiTokens::load(Arc::new(SqliteStore::in_memory().unwrap())).await.unwrap();
        for name in names {
            let (name, secret) = ((*name).to_owned(), ApiSecret::generate());
            let roles = Roles::default();
            let token = NewApiToken { name, secret, roles, devices: None, expires_at: None };
            tokens.add(&token, &Actor::cli()).await.unwrap();
        }
        (Sessions::new(tokens.clone()), tokens)
    }

    fn cookie_of(begun: &Begun) -> HeaderMap {
        let value = format!("a=b; {COOKIE_NAME}={}", begun.secret);
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&value).unwrap())])
    }

    #[tokio::test]
    async fn a_session_lasts_twelve_hours_and_one_without_a_request() {
        let (sessions, tokens) = sessions(&["a"]).await;
        pause();
        let begin = || cookie_of(&sessions.begin(tokens.get("a").unwrap()));
        let (used, idle) = (begin(), begin());
        let id = sessions.find(&idle).unwrap().id;
        for _ in 0..12 {
            advance(HOUR - Duration::from_secs(1)).await;
            assert!(sessions.find(&used).is_some());
        }
        assert!(sessions.find(&idle).is_none() && !sessions.is_good(&id));
        advance(Duration::from_secs(12)).await;
        assert!(sessions.find(&used).is_none());
        let (watched, id) = (begin(), sessions.find(&begin()).unwrap().id);
        advance(HOUR).await;
        // A stream that goes on is no use.
        assert!(!sessions.is_good(&id) && sessions.find(&watched).is_none());
        begin();
        assert_eq!(sessions.lock().len(), 1);
    }

    #[tokio::test]
    async fn a_token_has_so_many_sessions_and_the_longest_unused_ends_first() {
        let (sessions, tokens) = sessions(&["a", "b"]).await;
        pause();
        let other = cookie_of(&sessions.begin(tokens.get("b").unwrap()));
        let mut cookies = Vec::new();
        for _ in 0..PER_TOKEN {
            cookies.push(cookie_of(&sessions.begin(tokens.get("a").unwrap())));
            advance(Duration::from_secs(1)).await;
        }
        assert!(sessions.find(&cookies[0]).is_some());
        sessions.begin(tokens.get("a").unwrap());
        let good: Vec<_> = cookies.iter().map(|cookie| sessions.find(cookie).is_some()).collect();
        let ended: Vec<_> = good.iter().enumerate().filter(|(_, good)| !**good).collect();
        assert_eq!(ended, [(1, &false)]);
        assert!(sessions.find(&other).is_some());
    }

    #[tokio::test]
    async fn a_session_ends_with_its_token_and_not_with_another_one_of_the_name() {
        let (sessions, tokens) = sessions(&["a"]).await;
        let cookie = cookie_of(&sessions.begin(tokens.get("a").unwrap()));
        tokens.revoke("a", &Actor::cli()).await.unwrap();
        let secret = ApiSecret::generate();
        let (name, roles) = ("a".to_owned(), Roles::default());
        let again = NewApiToken { name, secret, roles, devices: None, expires_at: None };
        tokens.add(&again, &Actor::cli()).await.unwrap();
        assert!(sessions.find(&cookie).is_none());
    }
}
