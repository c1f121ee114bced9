//! The contract of known logins.

use super::support::{cli, until};
use crate::accounts::AccountStore;
use crate::known_logins::{KnownLogin, KnownLoginStore};

/// Tests the contract of [`KnownLoginStore`] on a store without accounts.
pub async fn known_logins(store: &(impl KnownLoginStore + AccountStore)) {
    let login = |address: &str, account: &str, at| {
        let (address, account) = (address.parse().unwrap(), account.to_owned());
        KnownLogin { address, account, at }
    };
    assert_eq!(store.known_logins(10).await.unwrap(), []);
    for account in ["marvin", "arthur"] {
        store.add_account(account, "hash", &cli()).await.unwrap();
    }
    for (address, account, at) in [
        ("192.0.2.1", "marvin", 10),
        ("2001:db8::", "marvin", 20),
        ("192.0.2.1", "arthur", 30),
        ("192.0.2.1", "marvin", 40),
        // A late note of an earlier time does not change the latest.
        ("192.0.2.1", "marvin", 35),
        // The account was removed meanwhile.
        ("192.0.2.1", "zaphod", 50),
    ] {
        store.login_succeeded(login(address, account, at));
    }
    let of_marvin = login("192.0.2.1", "marvin", 40);
    let of_arthur = login("192.0.2.1", "arthur", 30);
    let expected = [of_marvin.clone(), of_arthur.clone(), login("2001:db8::", "marvin", 20)];
    until(async || (store.known_logins(10).await.unwrap() == expected).then_some(())).await;
    assert_eq!(store.known_logins(1).await.unwrap(), expected[..1]);
    store.expire_known_logins(20 + KnownLogin::MAX_AGE).await.unwrap();
    assert_eq!(store.known_logins(10).await.unwrap().len(), 3);
    store.expire_known_logins(21 + KnownLogin::MAX_AGE).await.unwrap();
    assert_eq!(store.known_logins(10).await.unwrap(), [of_marvin, of_arthur.clone()]);
    store.remove_account("marvin", &cli()).await.unwrap();
    assert_eq!(store.known_logins(10).await.unwrap(), [of_arthur]);
}
