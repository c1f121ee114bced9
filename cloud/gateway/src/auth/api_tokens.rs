//! The tokens of callers of an HTTP API, in memory.

use std::fmt;
use std::sync::Arc;

use fedecks_store::{Actor, ApiSecret, ApiToken, ApiTokenStore, NewApiToken, StoreError, unix_now};
use parking_lot::RwLock;
use subtle::ConstantTimeEq;

use crate::auth::poll::poll_changes;

/// The API tokens of a store, in memory, so that API requests can be authenticated while the store is
/// busy or failing. Clones share their state.
#[derive(Clone)]
pub struct ApiTokens(Arc<Shared>);

struct Shared {
    store: Arc<dyn ApiTokenStore>,
    cache: RwLock<Cache>,
}

#[derive(Default)]
struct Cache {
    tokens: Arc<[Arc<ApiToken>]>,
    /// How many were revoked by this process: what was read before the latest may still contain it.
    revoked: u64,
}

impl ApiTokens {
    /// Loads all API tokens of `store`.
    pub async fn load(store: Arc<dyn ApiTokenStore>) -> Result<Self, StoreError> {
        let tokens = Self(Arc::new(Shared { store, cache: RwLock::default() }));
        tokens.refresh().await?;
        Ok(tokens)
    }

    /// The token with this secret, unless it has expired; records that it was used. Compares in constant
    /// time.
    pub fn find(&self, presented: &str) -> Option<Arc<ApiToken>> {
        let presented = ApiSecret::hash_of(presented);
        let now = unix_now();
        let tokens = self.all();
        let found = tokens.iter().fold(None, |found, token| {
            let same: bool = token.hash.ct_eq(&presented).into();
            if same { Some(token) } else { found }
        })?;
        if found.expires_at.is_some_and(|end| end <= now) {
            return None;
        }
        self.0.store.api_token_used(&found.name, now);
        Some(found.clone())
    }

    /// The token with this name, unless it was revoked or has expired.
    pub fn get(&self, name: &str) -> Option<Arc<ApiToken>> {
        let now = unix_now();
        let valid = |token: &&Arc<ApiToken>| {
            token.name == name && token.expires_at.is_none_or(|end| now < end)
        };
        self.all().iter().find(valid).cloned()
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

    /// Notices, within a second, what other processes change in the same store. Never returns: run it as
    /// a separate task.
    pub async fn watch(self) {
        poll_changes("API tokens", || self.refresh()).await;
    }

    fn all(&self) -> Arc<[Arc<ApiToken>]> {
        self.0.cache.read().tokens.clone()
    }

    async fn refresh(&self) -> Result<(), StoreError> {
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
    use fedecks_store::{Role, SqliteStore};
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

    #[tokio::test]
    async fn a_token_is_found_by_its_secret_until_it_is_revoked() {
        let tokens = ApiTokens::load(Arc::new(SqliteStore::in_memory().unwrap())).await.unwrap();
        let (ci, other) = (token("ci", None), token("other", Some(unix_now() + 60)));
        let expired = token("expired", Some(unix_now()));
        for token in [&other, &expired, &ci] {
            tokens.add(token, &Actor::cli()).await.unwrap();
        }
        let found = tokens.find(ci.secret.expose()).unwrap();
        assert_eq!(found.name, "ci");
        assert!(found.roles.contains(Role::Read) && !found.roles.contains(Role::Admin));
        assert_eq!(found.devices, ci.devices);
        for wrong in ["", "fdk_", &ci.secret.expose()[..46], "ci", expired.secret.expose()] {
            assert_eq!(tokens.find(wrong), None, "{wrong:?}");
        }
        assert_eq!(tokens.get("expired"), None);
        assert!(tokens.get("ci").is_some() && tokens.get("other").is_some());
        assert!(tokens.revoke("ci", &Actor::cli()).await.unwrap());
        assert!(!tokens.revoke("ci", &Actor::cli()).await.unwrap());
        assert_eq!(tokens.find(ci.secret.expose()), None);
        assert_eq!(tokens.get("ci"), None);
        assert_eq!(tokens.find(other.secret.expose()).unwrap().name, "other");
    }

    #[tokio::test]
    async fn changes_by_another_process_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        let ours = ApiTokens::load(Arc::new(SqliteStore::open(&path).unwrap())).await.unwrap();
        let watch = tokio::spawn(ours.clone().watch());
        let other = SqliteStore::open(&path).unwrap();
        let ci = token("ci", None);
        other.add_api_token(&ci, &Actor::cli()).await.unwrap();
        until(async || ours.find(ci.secret.expose())).await;
        other.revoke_api_token("ci", &Actor::cli()).await.unwrap();
        until(async || ours.find(ci.secret.expose()).is_none().then_some(())).await;
        watch.abort();
    }
}
