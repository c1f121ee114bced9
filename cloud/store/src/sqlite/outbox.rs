//! The outbox in SQLite.

use rusqlite::{OptionalExtension, params};

use super::columns::{from_column, to_column, unsigned};
use super::store::SqliteStore;
use crate::boxed::StoreFuture;
use crate::outbox::{OutboxEntry, OutboxItem, OutboxStore};

impl OutboxStore for SqliteStore {
    fn outbox_add<'a>(
        &'a self,
        webhook: &'a str,
        entries: Vec<OutboxEntry>,
        at: u64,
    ) -> StoreFuture<'a, Vec<u64>> {
        let webhook = webhook.to_owned();
        self.write(move |tx| {
            let mut insert = tx.prepare_cached(
                "INSERT INTO outbox (webhook, lane, event, body, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            entries
                .iter()
                .map(|OutboxEntry { lane, event, body }| {
                    insert
                        .insert(params![webhook, lane, event, body, to_column(at)])
                        .map(from_column)
                })
                .collect()
        })
    }

    fn outbox<'a>(&'a self, webhook: &'a str) -> StoreFuture<'a, Vec<OutboxItem>> {
        let webhook = webhook.to_owned();
        self.read(move |database| {
            database
                .prepare_cached(
                    "SELECT sequence, lane, event, octet_length(body), at FROM outbox
                     WHERE webhook = ?1 ORDER BY sequence",
                )?
                .query_map([&webhook], |row| {
                    Ok(OutboxItem {
                        sequence: unsigned(row, 0)?,
                        lane: row.get(1)?,
                        event: row.get(2)?,
                        bytes: unsigned(row, 3)?,
                        at: unsigned(row, 4)?,
                    })
                })?
                .collect()
        })
    }

    fn outbox_body<'a>(
        &'a self,
        webhook: &'a str,
        sequence: u64,
    ) -> StoreFuture<'a, Option<OutboxEntry>> {
        let webhook = webhook.to_owned();
        self.read(move |database| {
            database
                .prepare_cached(
                    "SELECT lane, event, body FROM outbox WHERE sequence = ?1 AND webhook = ?2",
                )?
                .query_row(params![to_column(sequence), webhook], |row| {
                    Ok(OutboxEntry { lane: row.get(0)?, event: row.get(1)?, body: row.get(2)? })
                })
                .optional()
        })
    }

    fn outbox_remove<'a>(
        &'a self,
        webhook: &'a str,
        events: Vec<(u64, String)>,
    ) -> StoreFuture<'a, ()> {
        let webhook = webhook.to_owned();
        self.write(move |tx| {
            let mut delete = tx.prepare_cached(
                "DELETE FROM outbox WHERE sequence = ?1 AND webhook = ?2 AND event = ?3",
            )?;
            events.iter().try_for_each(|(sequence, event)| {
                delete.execute(params![to_column(*sequence), webhook, event]).map(drop)
            })
        })
    }

    fn outbox_keep_only<'a>(&'a self, webhooks: &'a [String]) -> StoreFuture<'a, u64> {
        let webhooks = webhooks.to_vec();
        self.write(move |tx| {
            let names: Vec<String> = tx
                .prepare_cached("SELECT DISTINCT webhook FROM outbox")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let mut removed = 0;
            for name in names.iter().filter(|name| !webhooks.contains(name)) {
                removed += tx.execute("DELETE FROM outbox WHERE webhook = ?1", [name])?;
            }
            Ok(removed as u64)
        })
    }
}
