//! Writes known logins. Reading them is in `known_logins`.

use std::net::IpAddr;

use rusqlite::{Transaction, params};

use super::columns::{later, to_column};
use crate::known_logins::KnownLogin;

/// Notes that an account was used from a network, if the account still exists.
pub(super) fn write(
    tx: &Transaction<'_>,
    account: &str,
    network: IpAddr,
    at: u64,
) -> rusqlite::Result<()> {
    tx.prepare_cached(&format!(
        "INSERT INTO known_logins (account, last_used, network)
         SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM accounts WHERE name = ?1)
         ON CONFLICT (account, network) DO UPDATE SET last_used = {}",
        later("last_used")
    ))?
    .execute(params![account, to_column(at), network.to_string()])?;
    Ok(())
}

/// Drops pairs above the maximum: one by one the least recent of the account that has the most, and of
/// several such accounts the least recent of all.
pub(super) fn bound(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let count: i64 =
        tx.prepare_cached("SELECT count(*) FROM known_logins")?.query_row([], |row| row.get(0))?;
    let above = count - i64::from(KnownLogin::MAX);
    if above > 0 {
        tx.prepare_cached(
            "DELETE FROM known_logins WHERE (account, network) IN (
                 SELECT account, network FROM (
                     SELECT account, network, last_used, row_number() OVER (
                         PARTITION BY account ORDER BY last_used DESC, network) AS place
                     FROM known_logins)
                 ORDER BY place DESC, last_used LIMIT ?1)",
        )?
        .execute([above])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::store::SqliteStore;
    use super::super::tests::flushed;
    use crate::accounts::AccountStore;
    use crate::conformance::support::cli;
    use crate::known_logins::{KnownLogin, KnownLoginStore};

    fn login(account: &str, number: u32, at: u64) -> KnownLogin {
        KnownLogin { address: number.to_be_bytes().into(), account: account.to_owned(), at }
    }

    #[tokio::test]
    async fn pairs_above_the_maximum_are_dropped_fairly_and_at_once() {
        let store = SqliteStore::in_memory().unwrap();
        let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                   INSERT INTO accounts (name, password_hash, created_at)
                   SELECT 'device-' || i, 'hash', 0 FROM n";
        let accounts = KnownLogin::MAX + 2000;
        store.write(move |tx| tx.execute(sql, [accounts])).await.unwrap();
        store.add_account("marvin", "hash", &cli()).await.unwrap();
        for number in 0..100 {
            store.login_succeeded(login("marvin", number, 1_000_000 + u64::from(number)));
        }
        flushed(&store).await;
        // Each of many accounts has one pair, as with an account for each device.
        for number in 1..=accounts {
            store.login_succeeded(login(&format!("device-{number}"), 1, u64::from(number)));
            if number % 5000 == 0 {
                flushed(&store).await;
            }
        }
        flushed(&store).await;
        let began = Instant::now();
        let kept = store.known_logins(KnownLogin::MAX).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(kept.len(), KnownLogin::MAX as usize);
        assert_eq!(kept[0], login("marvin", 99, 1_000_099), "the most recent of the largest");
        assert_eq!(kept[1], login(&format!("device-{accounts}"), 1, accounts.into()));
        let oldest = accounts - KnownLogin::MAX + 2;
        assert_eq!(kept.last(), Some(&login(&format!("device-{oldest}"), 1, oldest.into())));
    }

    #[tokio::test]
    async fn the_time_of_a_clock_that_was_ahead_is_replaced() {
        let store = SqliteStore::in_memory().unwrap();
        store.add_account("marvin", "hash", &cli()).await.unwrap();
        for at in [1_000_000_000, 1000, 900] {
            store.login_succeeded(login("marvin", 1, at));
            flushed(&store).await;
        }
        assert_eq!(store.known_logins(10).await.unwrap(), [login("marvin", 1, 1000)]);
    }
}
