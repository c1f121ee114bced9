//! Consumers of the message log in SQLite.

mod sql;
#[cfg(test)]
mod tests;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::columns::{damaged, to_column, unsigned};
use super::messages::status;
use super::store::SqliteStore;
use crate::boxed::StoreFuture;
use crate::consumer_place::ConsumerPlace;
use crate::consumers::{
    ConsumerAnswer, ConsumerDevices, ConsumerRecord, ConsumerStore, LogAcknowledged, OpenConsumer,
};
use crate::device_pattern::DevicePattern;

impl ConsumerStore for SqliteStore {
    fn open_consumer<'a>(&'a self, consumer: &'a OpenConsumer) -> StoreFuture<'a, ConsumerAnswer> {
        let OpenConsumer { name, devices, after, at } = consumer.clone();
        self.write_bulk(move |tx| {
            let log = status(tx)?;
            let after = after.filter(|after| *after < log.next);
            let Some(mut consumer) = find(tx, &name)? else {
                let count: usize =
                    tx.prepare_cached(sql::COUNT)?.query_row([], |row| row.get(0))?;
                if count >= ConsumerRecord::MAX {
                    return Ok(ConsumerAnswer::TooMany);
                }
                let (name, devices) = (name.clone(), devices.clone());
                let new = ConsumerPlace::new(name, devices, after, at, log);
                save(tx, &new)?;
                return Ok(ConsumerAnswer::After(new.record.place));
            };
            if consumer.record.devices != devices {
                return Ok(ConsumerAnswer::OtherDevices);
            }
            if consumer.read(after, at) {
                save(tx, &consumer)?;
            }
            Ok(ConsumerAnswer::After(consumer.record.place))
        })
    }

    fn count_missed<'a>(&'a self, name: &'a str) -> StoreFuture<'a, u64> {
        let name = name.to_owned();
        self.write_bulk(move |tx| {
            let log = status(tx)?;
            let Some(mut consumer) = find(tx, &name)? else { return Ok(0) };
            if consumer.pass_over_missed(log) {
                save(tx, &consumer)?;
            }
            Ok(consumer.pending)
        })
    }

    fn acknowledge_log<'a>(
        &'a self,
        name: &'a str,
        to: u64,
        at: u64,
    ) -> StoreFuture<'a, LogAcknowledged> {
        let name = name.to_owned();
        self.write_bulk(move |tx| {
            let Some(mut consumer) = find(tx, &name)? else { return Ok(LogAcknowledged::Unknown) };
            if to >= status(tx)?.next {
                return Ok(LogAcknowledged::BeyondLog);
            }
            consumer.acknowledge(to);
            consumer.record.used_at = at;
            save(tx, &consumer)?;
            Ok(LogAcknowledged::Done)
        })
    }

    fn consumers(&self) -> StoreFuture<'_, Vec<ConsumerRecord>> {
        self.read_bulk(|database| {
            let log = status(database)?;
            let mut all = database.prepare_cached(sql::ALL)?;
            all.query_map([], consumer)?.map(|consumer| Ok(consumer?.into_record(log))).collect()
        })
    }

    fn remove_consumer<'a>(&'a self, name: &'a str) -> StoreFuture<'a, bool> {
        let name = name.to_owned();
        self.write_bulk(move |tx| Ok(tx.prepare_cached(sql::REMOVE)?.execute([&name])? > 0))
    }
}

fn find(tx: &Transaction<'_>, name: &str) -> rusqlite::Result<Option<ConsumerPlace>> {
    tx.prepare_cached(sql::FIND)?.query_row([name], consumer).optional()
}

fn save(tx: &Connection, consumer: &ConsumerPlace) -> rusqlite::Result<()> {
    let ConsumerPlace { record, pending } = consumer;
    let text = |pattern: &Option<DevicePattern>| pattern.as_ref().map(|it| it.as_str().to_owned());
    tx.prepare_cached(sql::SAVE)?
        .execute(params![
            record.name,
            text(&record.devices.asked),
            text(&record.devices.scope),
            to_column(record.place),
            to_column(*pending),
            to_column(record.missed),
            to_column(record.used_at),
        ])
        .map(drop)
}

fn consumer(row: &Row<'_>) -> rusqlite::Result<ConsumerPlace> {
    let pattern = |column| {
        let text: Option<String> = row.get(column)?;
        let parsed = text.map(|text| DevicePattern::new(&text)).transpose();
        parsed.map_err(|error| damaged(column, error))
    };
    let record = ConsumerRecord {
        name: row.get(0)?,
        devices: ConsumerDevices { asked: pattern(1)?, scope: pattern(2)? },
        place: unsigned(row, 3)?,
        missed: unsigned(row, 5)?,
        used_at: unsigned(row, 6)?,
    };
    Ok(ConsumerPlace { record, pending: unsigned(row, 4)? })
}
