//! The outbox in SQLite.

use rusqlite::{OptionalExtension, params};

use super::{SqliteStore, read, stored};
use crate::boxed::BoxFuture;
use crate::error::StoreError;
use crate::outbox::{Outbox, OutboxEntry, OutboxItem};

impl Outbox for SqliteStore {
    fn outbox_add<'a>(
        &'a self,
        webhook: &'a str,
        entries: Vec<OutboxEntry>,
        at: u64,
    ) -> BoxFuture<'a, Result<Vec<u64>, StoreError>> {
        let webhook = webhook.to_owned();
        self.write(move |writing| {
            let mut insert = writing.prepare_cached(
                "INSERT INTO outbox (webhook, lane, event, body, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            entries
                .iter()
                .map(|OutboxEntry { lane, event, body }| {
                    insert.insert(params![webhook, lane, event, body, stored(at)]).map(read)
                })
                .collect()
        })
    }

    fn outbox<'a>(
        &'a self,
        webhook: &'a str,
    ) -> BoxFuture<'a, Result<Vec<OutboxItem>, StoreError>> {
        let webhook = webhook.to_owned();
        self.read(move |database| {
            database
                .prepare_cached(
                    "SELECT sequence, lane, event, octet_length(body), at FROM outbox
                     WHERE webhook = ?1 ORDER BY sequence",
                )?
                .query_map([&webhook], |row| {
                    Ok(OutboxItem {
                        sequence: read(row.get(0)?),
                        lane: row.get(1)?,
                        event: row.get(2)?,
                        bytes: read(row.get(3)?),
                        at: read(row.get(4)?),
                    })
                })?
                .collect()
        })
    }

    fn outbox_body<'a>(
        &'a self,
        webhook: &'a str,
        sequence: u64,
    ) -> BoxFuture<'a, Result<Option<OutboxEntry>, StoreError>> {
        let webhook = webhook.to_owned();
        self.read(move |database| {
            database
                .prepare_cached(
                    "SELECT lane, event, body FROM outbox WHERE sequence = ?1 AND webhook = ?2",
                )?
                .query_row(params![stored(sequence), webhook], |row| {
                    Ok(OutboxEntry { lane: row.get(0)?, event: row.get(1)?, body: row.get(2)? })
                })
                .optional()
        })
    }

    fn outbox_remove<'a>(
        &'a self,
        webhook: &'a str,
        events: Vec<(u64, String)>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let webhook = webhook.to_owned();
        self.write(move |writing| {
            let mut delete = writing.prepare_cached(
                "DELETE FROM outbox WHERE sequence = ?1 AND webhook = ?2 AND event = ?3",
            )?;
            events.iter().try_for_each(|(sequence, event)| {
                delete.execute(params![stored(*sequence), webhook, event]).map(drop)
            })
        })
    }

    fn outbox_keep_only<'a>(
        &'a self,
        webhooks: &'a [String],
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        let webhooks = webhooks.to_vec();
        self.write(move |writing| {
            let names: Vec<String> = writing
                .prepare_cached("SELECT DISTINCT webhook FROM outbox")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let mut removed = 0;
            for name in names.iter().filter(|name| !webhooks.contains(name)) {
                removed += writing.execute("DELETE FROM outbox WHERE webhook = ?1", [name])?;
            }
            Ok(removed as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(lane: &str, event: &str) -> OutboxEntry {
        let body = format!("the body of {event} takes \u{20ac} 5");
        OutboxEntry { lane: lane.into(), event: event.into(), body }
    }

    #[tokio::test]
    async fn what_is_put_in_comes_out_in_its_order_until_it_is_removed() {
        let store = SqliteStore::in_memory().unwrap();
        let first = store.outbox_add("crm", vec![entry("a", "1"), entry("b", "2")], 7).await;
        let first = first.unwrap();
        store.outbox_add("other", vec![entry("a", "1")], 8).await.unwrap();
        let second = store.outbox_add("crm", vec![entry("a", "3")], 9).await.unwrap();
        assert!(first[0] < first[1] && first[1] < second[0]);
        let waiting = store.outbox("crm").await.unwrap();
        let item = |sequence, lane: &str, event: &str, at| {
            let bytes = entry(lane, event).body.len() as u64;
            OutboxItem { sequence, lane: lane.into(), event: event.into(), bytes, at }
        };
        assert_eq!(
            waiting,
            [
                item(first[0], "a", "1", 7),
                item(first[1], "b", "2", 7),
                item(second[0], "a", "3", 9)
            ]
        );
        assert_eq!(store.outbox_body("crm", first[1]).await.unwrap(), Some(entry("b", "2")));
        assert_eq!(store.outbox_body("other", first[1]).await.unwrap(), None);
        let done = |event: &str| (first[1], event.to_owned());
        // Another event, or of another webhook, as after a restore.
        store.outbox_remove("crm", vec![done("9")]).await.unwrap();
        store.outbox_remove("other", vec![done("2")]).await.unwrap();
        assert_eq!(store.outbox_body("crm", first[1]).await.unwrap(), Some(entry("b", "2")));
        let both = vec![(first[0], "1".into()), done("2"), (99, "x".into())];
        store.outbox_remove("crm", both).await.unwrap();
        assert_eq!(store.outbox_body("crm", first[1]).await.unwrap(), None);
        assert_eq!(store.outbox("crm").await.unwrap(), [item(second[0], "a", "3", 9)]);
    }

    #[tokio::test]
    async fn a_number_is_given_once_even_if_nothing_is_left() {
        let store = SqliteStore::in_memory().unwrap();
        let first = store.outbox_add("crm", vec![entry("a", "1")], 1).await.unwrap();
        store.outbox_remove("crm", vec![(first[0], "1".into())]).await.unwrap();
        let second = store.outbox_add("crm", vec![entry("a", "2")], 1).await.unwrap();
        assert!(second[0] > first[0]);
    }

    #[tokio::test]
    async fn what_waits_for_webhooks_that_are_gone_is_removed() {
        let store = SqliteStore::in_memory().unwrap();
        for webhook in ["crm", "old", "older"] {
            store.outbox_add(webhook, vec![entry("a", "1"), entry("b", "2")], 1).await.unwrap();
        }
        assert_eq!(store.outbox_keep_only(&["crm".into()]).await.unwrap(), 4);
        assert_eq!(store.outbox("crm").await.unwrap().len(), 2);
        assert_eq!(store.outbox("old").await.unwrap(), []);
    }
}
