//! The contract of API tokens.

use super::support::{cli, until};
use crate::api_tokens::{ApiSecret, ApiTokenStore, NewApiToken, Role};
use crate::error::StoreError;

/// Tests the contract of [`ApiTokenStore`] on a store without API tokens.
pub async fn api_tokens(store: &impl ApiTokenStore) {
    assert_eq!(store.api_tokens().await.unwrap(), []);
    let new = |name: &str, roles: &[Role], devices, expires_at| NewApiToken {
        name: name.to_owned(),
        secret: ApiSecret::generate(),
        roles: roles.iter().copied().collect(),
        devices,
        expires_at,
    };
    let devices = Some("site-a-*".parse().unwrap());
    let token = new("ci", &[Role::Read, Role::Send], devices, Some(2_000_000_000));
    store.add_api_token(&token, &cli()).await.unwrap();
    let again = store.add_api_token(&token, &cli()).await;
    assert!(matches!(again, Err(StoreError::Exists { name, .. }) if name == "ci"));
    store.add_api_token(&new("admin", &[Role::Admin], None, None), &cli()).await.unwrap();
    store.api_token_used("ci", 80);
    store.api_token_used("gone", 80);
    let tokens = until(async || {
        let tokens = store.api_tokens().await.unwrap();
        tokens[1].last_used.is_some().then_some(tokens)
    })
    .await;
    let [admin, ci] = &tokens[..] else { panic!("{tokens:?}") };
    assert_eq!((admin.name.as_str(), admin.last_used), ("admin", None));
    assert_eq!((ci.roles, ci.last_used), (token.roles, Some(80)));
    assert_eq!((ci.devices.clone(), ci.expires_at), (token.devices, token.expires_at));
    assert_eq!(ci.hash, ApiSecret::hash_of(token.secret.expose()));
    assert!(store.revoke_api_token("ci", &cli()).await.unwrap());
    assert!(!store.revoke_api_token("ci", &cli()).await.unwrap());
    assert_eq!(store.api_tokens().await.unwrap().len(), 1);
}
