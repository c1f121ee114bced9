//! The tokens of callers of an HTTP API, in memory.

use std::fmt;
use std::sync::Arc;

use fedecks_store::{Actor, ApiSecret, ApiToken, ApiTokenStore, Clock, NewApiToken, StoreError};
use parking_lot::RwLock;
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;

use crate::auth::poll::poll_changes;

/// The API tokens of a store, in memory, so that API requests can be authenticated while the store is
/// busy or failing. Clones share their state.
#[derive(Clone)]
pub struct ApiTokens(Arc<Shared>);

/// Why no API token was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidApiToken {
    /// There is none, or it was revoked.
    #[error("this API token is unknown or revoked")]
    Unknown,
    /// It exists, and its end has passed.
    #[error("this API token has expired")]
    Expired,
    /// It has an end, and the clock is certainly wrong.
    #[error("the server's clock is behind, so it cannot know whether this API token has expired")]
    ClockBehind,
}

struct Shared {
    store: Arc<dyn ApiTokenStore>,
    clock: Clock,
    cache: RwLock<Cache>,
    /// One refresh at a time: an older reading must not replace a newer one, which may have a token that
    /// was just added.
    refreshing: Mutex<()>,
}

#[derive(Default)]
struct Cache {
    tokens: Arc<[Arc<ApiToken>]>,
    /// How many were revoked by this process: what was read before the latest may still contain it.
    revoked: u64,
}

impl ApiTokens {
    /// Loads all API tokens of `store`. `clock` decides which have expired. Notices from then on, within a second,
    /// what other processes change in the store, until the last clone is dropped. Must be called within a tokio
    /// runtime.
    pub async fn load(store: Arc<dyn ApiTokenStore>, clock: Clock) -> Result<Self, StoreError> {
        let tokens = Self(Arc::new(Shared {
            store,
            clock,
            cache: RwLock::default(),
            refreshing: Mutex::default(),
        }));
        tokens.refresh().await?;
        let shared = Arc::downgrade(&tokens.0);
        poll_changes("API tokens", shared, |shared| async move { Self(shared).refresh().await });
        Ok(tokens)
    }

    /// The token with this secret, if it is valid; records that it was used. Compares in constant time.
    pub fn find(&self, presented: &str) -> Result<Arc<ApiToken>, InvalidApiToken> {
        let presented = ApiSecret::hash_of(presented);
        let tokens = self.all();
        let found = tokens.iter().fold(None, |found, token| {
            let same: bool = token.hash.ct_eq(&presented).into();
            if same { Some(token) } else { found }
        });
        let found = found.ok_or(InvalidApiToken::Unknown)?;
        self.check_expiry(found)?;
        self.0.store.api_token_used(&found.name, self.0.clock.now());
        Ok(found.clone())
    }

    /// The token with this name, if it is valid.
    pub fn get(&self, name: &str) -> Result<Arc<ApiToken>, InvalidApiToken> {
        let tokens = self.all();
        let found = tokens.iter().find(|token| token.name == name);
        let found = found.ok_or(InvalidApiToken::Unknown)?;
        self.check_expiry(found)?;
        Ok(found.clone())
    }

    /// A clock that is behind revives no token.
    fn check_expiry(&self, token: &ApiToken) -> Result<(), InvalidApiToken> {
        let clock = &self.0.clock;
        match token.expires_at {
            Some(end) if end <= clock.at_least() => Err(InvalidApiToken::Expired),
            Some(_) if clock.below_floor() => Err(InvalidApiToken::ClockBehind),
            Some(_) | None => Ok(()),
        }
    }

    /// Adds a token, to the store first. It is valid immediately.
    pub async fn add(&self, token: &NewApiToken, by: &Actor) -> Result<(), StoreError> {
        self.0.store.add_api_token(token, by).await?;
        self.refresh().await
    }

    /// Revokes a token, in the store first. It is refused immediately. Returns false if there is none.
    pub async fn revoke(&self, name: &str, by: &Actor) -> Result<bool, StoreError> {
        let revoked = self.0.store.revoke_api_token(name, by).await?;
        if revoked {
            let mut cache = self.0.cache.write();
            let rest = cache.tokens.iter().filter(|token| token.name != name);
            cache.tokens = rest.cloned().collect();
            cache.revoked += 1;
        }
        Ok(revoked)
    }

    fn all(&self) -> Arc<[Arc<ApiToken>]> {
        self.0.cache.read().tokens.clone()
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let _one = self.0.refreshing.lock().await;
        let revoked = || self.0.cache.read().revoked;
        loop {
            let before = revoked();
            let read = self.0.store.api_tokens().await?;
            let mut cache = self.0.cache.write();
            if cache.revoked == before {
                cache.tokens = read.into_iter().map(Arc::new).collect();
                return Ok(());
            }
        }
    }
}

impl fmt::Debug for ApiTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiTokens").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fedecks_store::{ManualClock, Role, SqliteStore, StoreOptions, unix_now};
    use fedecks_testing::wait::until;

    use super::*;

    fn token(name: &str, expires_at: Option<u64>) -> NewApiToken {
        NewApiToken {
            name: name.to_owned(),
            secret: ApiSecret::generate(),
            roles: [Role::Read].into_iter().collect(),
            devices: Some("site-a-*".parse().unwrap()),
            expires_at,
        }
    }

    async fn in_memory(clock: Clock) -> ApiTokens {
        ApiTokens::load(Arc::new(SqliteStore::in_memory().unwrap()), clock).await.unwrap()
    }

    #[tokio::test]
    async fn a_clock_behind_revives_no_token_and_one_ahead_keeps_it() {
        let manual = ManualClock::default();
        let clock = Clock::new(manual.clone(), 1000);
        let tokens = in_memory(clock).await;
        let names = [("past", Some(900)), ("coming", Some(2000)), ("endless", None)];
        let names = names.map(|(name, end)| (name, token(name, end)));
        for (_, token) in &names {
            tokens.add(token, &Actor::cli()).await.unwrap();
        }
        let (expired, behind) = (Err(InvalidApiToken::Expired), Err(InvalidApiToken::ClockBehind));
        for (now, expected) in [
            (500, [expired, behind, Ok(())]),
            (1500, [expired, Ok(()), Ok(())]),
            (3000, [expired, expired, Ok(())]),
            (1500, [expired, Ok(()), Ok(())]),
        ] {
            manual.set(now, false);
            for ((name, token), expected) in names.iter().zip(expected) {
                assert_eq!(tokens.find(token.secret.expose()).map(drop), expected, "{now} {name}");
                assert_eq!(tokens.get(name).map(drop), expected, "{now} {name}");
            }
        }
    }

    #[tokio::test]
    async fn a_token_is_found_by_its_secret_until_it_is_revoked() {
        let tokens = in_memory(Clock::system()).await;
        let (ci, other) = (token("ci", None), token("other", Some(unix_now() + 60)));
        let expired = token("expired", Some(unix_now()));
        for token in [&other, &expired, &ci] {
            tokens.add(token, &Actor::cli()).await.unwrap();
        }
        let found = tokens.find(ci.secret.expose()).unwrap();
        assert_eq!(found.name, "ci");
        assert!(found.roles.contains(Role::Read) && !found.roles.contains(Role::Admin));
        assert_eq!(found.devices, ci.devices);
        for wrong in ["", "fdk_", &ci.secret.expose()[..46], "ci"] {
            assert_eq!(tokens.find(wrong), Err(InvalidApiToken::Unknown), "{wrong:?}");
        }
        assert_eq!(tokens.find(expired.secret.expose()), Err(InvalidApiToken::Expired));
        assert_eq!(tokens.get("expired"), Err(InvalidApiToken::Expired));
        assert!(tokens.get("ci").is_ok() && tokens.get("other").is_ok());
        assert!(tokens.revoke("ci", &Actor::cli()).await.unwrap());
        assert!(!tokens.revoke("ci", &Actor::cli()).await.unwrap());
        assert_eq!(tokens.find(ci.secret.expose()), Err(InvalidApiToken::Unknown));
        assert_eq!(tokens.get("ci"), Err(InvalidApiToken::Unknown));
        assert_eq!(tokens.find(other.secret.expose()).unwrap().name, "other");
    }

    #[tokio::test]
    async fn changes_by_another_process_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        let ours = Arc::new(SqliteStore::open(&path).unwrap());
        let ours = ApiTokens::load(ours, Clock::system()).await.unwrap();
        let other = SqliteStore::open_beside(&path, StoreOptions::default()).unwrap();
        let ci = token("ci", None);
        other.add_api_token(&ci, &Actor::cli()).await.unwrap();
        until(async || ours.find(ci.secret.expose()).ok()).await;
        other.revoke_api_token("ci", &Actor::cli()).await.unwrap();
        until(async || ours.find(ci.secret.expose()).is_err().then_some(())).await;
    }
}
