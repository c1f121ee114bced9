//! The outbox in SQLite.

use rusqlite::{OptionalExtension, params};

use super::columns::{read, stored};
use super::store::SqliteStore;
use crate::boxed::BoxFuture;
use crate::error::StoreError;
use crate::outbox::{OutboxEntry, OutboxItem, OutboxStore};

impl OutboxStore for SqliteStore {
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
