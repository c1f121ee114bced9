//! The contract of API tokens.

use super::support::{cli, until};
use crate::api_tokens::{ApiSecret, ApiTokenStore, NewApiToken, Role};
use crate::error::StoreError;

/// Tests the contract of [`ApiTokenStore`] on a store without API tokens.
pub async fn api_tokens(store: &impl ApiTokenStore) {
    assert_eq!(store.api_tokens().await.unwrap(), []);
    let token = NewApiToken {
        name: "ci".to_owned(),
        secret: ApiSecret::generate(),
        roles: [Role::Read, Role::Send].into_iter().collect(),
        devices: Some("site-a-*".parse().unwrap()),
        expires_at: Some(2_000_000_000),
    };
    store.add_api_token(&token, &cli()).await.unwrap();
    let again = store.add_api_token(&token, &cli()).await;
    assert!(matches!(again, Err(StoreError::Exists { name, .. }) if name == "ci"));
    let other = NewApiToken {
        name: "admin".to_owned(),
        secret: ApiSecret::generate(),
        roles: [Role::Admin].into_iter().collect(),
        devices: None,
        expires_at: None,
    };
    store.add_api_token(&other, &cli()).await.unwrap();
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
