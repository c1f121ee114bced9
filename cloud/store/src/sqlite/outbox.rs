//! The outbox in SQLite. Whatever its size, it is read and deleted in small steps, between which others have
//! their turn.

use bytes::Bytes;
use rusqlite::{OptionalExtension, Transaction, params};

use super::columns::{from_column, to_column, unsigned};
use super::store::SqliteStore;
use crate::boxed::StoreFuture;
use crate::outbox::{OutboxEntry, OutboxItem, OutboxStore, stored_bytes};

/// How many events a step reads or deletes.
pub(super) const STEP_ROWS: usize = 500;

/// A step that deletes ends after about this many bytes.
const STEP_BYTES: u64 = 8 * 1024 * 1024;

impl OutboxStore for SqliteStore {
    fn outbox_add<'a>(
        &'a self,
        webhook: &'a str,
        entries: Vec<OutboxEntry>,
        at: u64,
    ) -> StoreFuture<'a, Vec<u64>> {
        let webhook = webhook.to_owned();
        self.write_bulk(move |tx| {
            let mut insert = tx.prepare_cached(
                "INSERT INTO outbox (webhook, lane, event, body, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            entries
                .iter()
                .map(|OutboxEntry { lane, event, body }| {
                    let body = std::str::from_utf8(body)?;
                    insert
                        .insert(params![webhook, lane, event, body, to_column(at)])
                        .map(from_column)
                })
                .collect()
        })
    }

    fn outbox<'a>(&'a self, webhook: &'a str) -> StoreFuture<'a, Vec<OutboxItem>> {
        Box::pin(async move {
            let mut items: Vec<OutboxItem> = Vec::new();
            loop {
                let after = items.last().map_or(0, |item| item.sequence);
                let step = self.outbox_after(webhook, after).await?;
                let complete = step.len() < STEP_ROWS;
                items.extend(step);
                if complete {
                    return Ok(items);
                }
            }
        })
    }

    fn outbox_body<'a>(
        &'a self,
        webhook: &'a str,
        sequence: u64,
    ) -> StoreFuture<'a, Option<OutboxEntry>> {
        let webhook = webhook.to_owned();
        self.read_bulk(move |database| {
            database
                .prepare_cached(
                    "SELECT lane, event, body FROM outbox WHERE sequence = ?1 AND webhook = ?2",
                )?
                .query_row(params![to_column(sequence), webhook], |row| {
                    let body = Bytes::from(row.get::<_, String>(2)?);
                    Ok(OutboxEntry { lane: row.get(0)?, event: row.get(1)?, body })
                })
                .optional()
        })
    }

    fn outbox_remove<'a>(
        &'a self,
        webhook: &'a str,
        mut events: Vec<(u64, String)>,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            while !events.is_empty() {
                let step: Vec<_> = events.iter().take(STEP_ROWS).cloned().collect();
                let webhook = webhook.to_owned();
                let done = self.write_bulk(move |tx| delete_events(tx, &webhook, &step)).await?;
                events.drain(..done);
            }
            Ok(())
        })
    }

    fn outbox_keep_only<'a>(&'a self, webhooks: &'a [String]) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let names: Vec<String> = self
                .read_bulk(|database| {
                    database
                        .prepare_cached("SELECT DISTINCT webhook FROM outbox")?
                        .query_map([], |row| row.get(0))?
                        .collect()
                })
                .await?;
            let mut removed = 0;
            for name in names.into_iter().filter(|name| !webhooks.contains(name)) {
                loop {
                    let items = self.outbox_after(&name, 0).await?;
                    if items.is_empty() {
                        break;
                    }
                    removed += items.len() as u64;
                    let events = items.into_iter().map(|item| (item.sequence, item.event));
                    self.outbox_remove(&name, events.collect()).await?;
                }
            }
            Ok(removed)
        })
    }
}

impl SqliteStore {
    /// The first events of a webhook after this one.
    fn outbox_after(&self, webhook: &str, after: u64) -> StoreFuture<'_, Vec<OutboxItem>> {
        let webhook = webhook.to_owned();
        self.read_bulk(move |database| {
            database
                .prepare_cached(
                    "SELECT sequence, lane, event, octet_length(body), at FROM outbox
                     WHERE webhook = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3",
                )?
                .query_map(params![webhook, to_column(after), STEP_ROWS as u64], |row| {
                    let (lane, event): (String, String) = (row.get(1)?, row.get(2)?);
                    let bytes = stored_bytes(&lane, &event, unsigned(row, 3)?);
                    let (sequence, at) = (unsigned(row, 0)?, unsigned(row, 4)?);
                    Ok(OutboxItem { sequence, lane, event, bytes, at })
                })?
                .collect()
        })
    }
}

/// Deletes events until a step has enough bytes. Returns how many of them are done with.
fn delete_events(
    tx: &Transaction<'_>,
    webhook: &str,
    events: &[(u64, String)],
) -> rusqlite::Result<usize> {
    let mut size = tx.prepare_cached(
        "SELECT octet_length(body) FROM outbox
         WHERE sequence = ?1 AND webhook = ?2 AND event = ?3",
    )?;
    let mut delete = tx.prepare_cached("DELETE FROM outbox WHERE sequence = ?1")?;
    let mut bytes = 0;
    for (done, (sequence, event)) in events.iter().enumerate() {
        if bytes >= STEP_BYTES {
            return Ok(done);
        }
        let sequence = to_column(*sequence);
        let found =
            size.query_row(params![sequence, webhook, event], |row| unsigned(row, 0)).optional()?;
        if let Some(found) = found {
            delete.execute([sequence])?;
            bytes += found;
        }
    }
    Ok(events.len())
}
