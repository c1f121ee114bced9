//! The contract of accounts.

use super::support::{cli, is_recent};
use crate::accounts::AccountStore;
use crate::error::StoreError;

/// Tests the contract of [`AccountStore`] on a store without accounts.
pub async fn accounts(store: &impl AccountStore) {
    assert_eq!(store.accounts().await.unwrap(), []);
    assert_eq!(store.password_hash("marvin").await.unwrap(), None);
    store.add_account("marvin", "first", &cli()).await.unwrap();
    store.add_account("arthur", "other", &cli()).await.unwrap();
    let again = store.add_account("marvin", "second", &cli()).await;
    assert!(matches!(again, Err(StoreError::Exists { name, .. }) if name == "marvin"));
    assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("first"));
    assert!(store.set_password_hash("marvin", "changed", &cli()).await.unwrap());
    assert!(!store.set_password_hash("unknown", "changed", &cli()).await.unwrap());
    assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("changed"));
    assert_eq!(store.password_hash("arthur").await.unwrap().as_deref(), Some("other"));
    assert_eq!(store.password_hash("unknown").await.unwrap(), None);
    let accounts = store.accounts().await.unwrap();
    let names: Vec<_> = accounts.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["arthur", "marvin"]);
    assert!(accounts.iter().all(|account| is_recent(account.created_at)));
    assert!(store.remove_account("marvin", &cli()).await.unwrap());
    assert!(!store.remove_account("marvin", &cli()).await.unwrap());
    assert_eq!(store.password_hash("marvin").await.unwrap(), None);
    store.add_account("marvin", "third", &cli()).await.unwrap();
    assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("third"));
}
