//! Consumers of the message log in PostgreSQL. A call that moves one holds the lock of its row, and then reads how far the
//! log is.

mod sql;

use tokio_postgres::Row;

use super::call::Tx;
use super::columns::{get, text, unsigned};
use super::failure::{Failure, Result};
use super::lanes::Lane;
use super::messages::status;
use super::store::PostgresStore;
use crate::boxed::StoreFuture;
use crate::columns::to_column;
use crate::consumer_place::ConsumerPlace;
use crate::consumers::{
    ConsumerAnswer, ConsumerDevices, ConsumerRecord, ConsumerStore, LogAcknowledged, OpenConsumer,
};
use crate::device_pattern::DevicePattern;

impl ConsumerStore for PostgresStore {
    fn open_consumer<'a>(&'a self, consumer: &'a OpenConsumer) -> StoreFuture<'a, ConsumerAnswer> {
        self.write(Lane::Bulk, consumer.clone(), |tx, consumer| Box::pin(open(tx, consumer)))
    }

    fn count_missed<'a>(&'a self, name: &'a str) -> StoreFuture<'a, u64> {
        self.write(Lane::Bulk, name.to_owned(), |tx, name| {
            Box::pin(async move {
                let Some(mut consumer) = find(tx, name).await? else { return Ok(0) };
                if consumer.pass_over_missed(status(tx).await?) {
                    save(tx, &consumer).await?;
                }
                Ok(consumer.pending)
            })
        })
    }

    fn acknowledge_log<'a>(
        &'a self,
        name: &'a str,
        to: u64,
        at: u64,
    ) -> StoreFuture<'a, LogAcknowledged> {
        self.write(Lane::Bulk, (name.to_owned(), to, at), |tx, (name, to, at)| {
            Box::pin(async move {
                let Some(mut consumer) = find(tx, name).await? else {
                    return Ok(LogAcknowledged::Unknown);
                };
                if *to >= status(tx).await?.next {
                    return Ok(LogAcknowledged::BeyondLog);
                }
                consumer.acknowledge(*to);
                consumer.record.used_at = *at;
                save(tx, &consumer).await?;
                Ok(LogAcknowledged::Done)
            })
        })
    }

    fn consumers(&self) -> StoreFuture<'_, Vec<ConsumerRecord>> {
        self.read(Lane::Bulk, (), |tx, ()| {
            Box::pin(async move {
                let all = tx.query(sql::ALL, &[]).await?;
                // Read later, so that no place is beyond it.
                let log = status(tx).await?;
                all.iter().map(|row| Ok(consumer(row)?.into_record(log))).collect()
            })
        })
    }

    fn remove_consumer<'a>(&'a self, name: &'a str) -> StoreFuture<'a, bool> {
        self.write(Lane::Bulk, name.to_owned(), |tx, name| {
            Box::pin(async move { Ok(tx.execute(sql::REMOVE, &[&text(name)]).await? > 0) })
        })
    }
}

async fn open(tx: &Tx, opened: &OpenConsumer) -> Result<ConsumerAnswer> {
    let OpenConsumer { name, devices, after, at } = opened;
    let mut found = find(tx, name).await?;
    if found.is_none() {
        tx.execute(sql::LOCK, &[]).await?;
        // Another server may have added it meanwhile.
        found = find(tx, name).await?;
    }
    let log = status(tx).await?;
    let after = after.filter(|after| *after < log.next);
    let Some(mut consumer) = found else {
        let count = tx.query_opt(sql::COUNT, &[]).await?;
        let count = count.map_or(Ok(0), |row| unsigned(&row, 0))?;
        if count >= ConsumerRecord::MAX as u64 {
            return Ok(ConsumerAnswer::TooMany);
        }
        let new = ConsumerPlace::new(name.clone(), devices.clone(), after, *at, log);
        save(tx, &new).await?;
        return Ok(ConsumerAnswer::After(new.record.place));
    };
    if consumer.record.devices != *devices {
        return Ok(ConsumerAnswer::OtherDevices);
    }
    if consumer.read(after, *at) {
        save(tx, &consumer).await?;
    }
    Ok(ConsumerAnswer::After(consumer.record.place))
}

async fn find(tx: &Tx, name: &str) -> Result<Option<ConsumerPlace>> {
    tx.query_opt(sql::FIND, &[&text(name)]).await?.as_ref().map(consumer).transpose()
}

async fn save(tx: &Tx, consumer: &ConsumerPlace) -> Result<()> {
    let ConsumerPlace { record, pending } = consumer;
    let pattern =
        |pattern: &Option<DevicePattern>| pattern.as_ref().map(|it| it.as_str().to_owned());
    let (asked, scope) = (pattern(&record.devices.asked), pattern(&record.devices.scope));
    let [place, pending, missed, used_at] =
        [record.place, *pending, record.missed, record.used_at].map(to_column);
    let name = text(&record.name);
    tx.execute(sql::SAVE, &[&name, &asked, &scope, &place, &pending, &missed, &used_at])
        .await
        .map(drop)
}

fn consumer(row: &Row) -> Result<ConsumerPlace> {
    let pattern = |column| {
        let text: Option<String> = get(row, column)?;
        text.map(|text| DevicePattern::new(&text)).transpose().map_err(Failure::damaged)
    };
    let record = ConsumerRecord {
        name: get(row, 0)?,
        devices: ConsumerDevices { asked: pattern(1)?, scope: pattern(2)? },
        place: unsigned(row, 3)?,
        missed: unsigned(row, 5)?,
        used_at: unsigned(row, 6)?,
    };
    Ok(ConsumerPlace { record, pending: unsigned(row, 4)? })
}
