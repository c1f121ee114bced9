//! Kept messages of devices in PostgreSQL.

mod log;
mod sql;
mod streams;
#[cfg(test)]
mod tests;

use fedecks_protocol::{DeviceId, InstallationId, StreamId};
use tokio_postgres::Row;

pub(super) use self::log::status;
use self::log::{Logged, page, trim};
use self::streams::{Streams, Used};
use super::call::Tx;
use super::columns::{get, id, lane, tag, tag_to_column, to_column, unsigned};
use super::failure::Result;
use super::lanes::Lane;
use super::queue::enqueue_in;
use super::store::PostgresStore;
use crate::boxed::StoreFuture;
use crate::messages::{
    Fence, LogQuery, LogStatus, LoggedMessage, MessageStore, OpenStreams, Step, StreamPosition,
};

impl MessageStore for PostgresStore {
    fn installation(&self) -> StoreFuture<'_, InstallationId> {
        self.read(Lane::Read, (), |tx, ()| {
            Box::pin(async move {
                let row = tx.query_one(sql::INSTALLATION, &[]).await?;
                id(&row, 0).map(InstallationId)
            })
        })
    }

    fn open_streams<'a>(&'a self, device: &'a DeviceId) -> StoreFuture<'a, OpenStreams> {
        self.write(Lane::Bulk, device.clone(), |tx, device| {
            Box::pin(async move {
                // Random, so that no connection from before a restore fits.
                let fence = rand::random();
                tx.execute(sql::OPEN, &[&device.as_str(), &fence]).await?;
                let positions = streams(tx, device).await?.into_iter().map(|it| it.position);
                Ok(OpenStreams { fence: Fence(fence), positions: positions.collect() })
            })
        })
    }

    fn accept<'a>(
        &'a self,
        device: &'a DeviceId,
        fence: Fence,
        steps: Vec<Step>,
    ) -> StoreFuture<'a, usize> {
        let args = (device.clone(), fence, steps);
        self.write(Lane::Shared, args, |tx, (device, fence, steps)| {
            Box::pin(accept(tx, device, *fence, steps))
        })
    }

    fn forget_stream<'a>(&'a self, device: &'a DeviceId, stream: StreamId) -> StoreFuture<'a, ()> {
        self.write(Lane::Shared, (device.clone(), stream), |tx, (device, stream)| {
            Box::pin(async move {
                let device = device.as_str();
                tx.query_opt(sql::FENCE, &[&device]).await?;
                let streams: Vec<&[u8]> = vec![&stream.0];
                tx.execute(sql::FORGET_STREAMS, &[&device, &streams]).await.map(drop)
            })
        })
    }

    fn logged<'a>(&'a self, query: &'a LogQuery) -> StoreFuture<'a, Vec<LoggedMessage>> {
        Box::pin(async move {
            let mut after = query.after;
            loop {
                let args = (after, query.clone());
                let step = self
                    .read(Lane::Bulk, args, |tx, (after, query)| Box::pin(page(tx, *after, query)));
                match step.await? {
                    (found, Some(last)) if found.is_empty() => after = last,
                    (found, _) => return Ok(found),
                }
            }
        })
    }

    fn log_status(&self) -> StoreFuture<'_, LogStatus> {
        self.read(Lane::Bulk, (), |tx, ()| Box::pin(status(tx)))
    }

    fn trim_log(&self, before: u64, bytes: u64) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let mut trimmed = 0;
            loop {
                let step = self.write(Lane::Bulk, (before, bytes), |tx, (before, bytes)| {
                    Box::pin(trim(tx, *before, *bytes))
                });
                let (removed, is_more) = step.await?;
                trimmed += removed;
                if !is_more {
                    return Ok(trimmed);
                }
            }
        })
    }
}

/// Takes steps, as far as their streams are where they begin. Returns how many.
async fn accept(tx: &Tx, device: &DeviceId, fence: Fence, steps: &[Step]) -> Result<usize> {
    let latest = tx.query_opt(sql::FENCE, &[&device.as_str()]).await?;
    let latest: Option<i64> = latest.map(|row| get(&row, 0)).transpose()?;
    if latest != Some(fence.0) {
        return Ok(0);
    }
    let mut streams = Streams::new(streams(tx, device).await?);
    let taken = steps.iter().take_while(|step| streams.take(step)).count();
    let steps = steps.get(..taken).unwrap_or_default();
    save(tx, device, &streams).await?;
    let items: Vec<_> = steps.iter().flat_map(|step| &step.effects.enqueue).collect();
    enqueue_in(tx, &items).await?;
    let mut logged = Logged::default();
    for step in steps {
        if let Some(message) = &step.effects.log {
            logged.push(device, step.to, message);
        }
    }
    logged.add(tx, device).await?;
    Ok(taken)
}

async fn streams(tx: &Tx, device: &DeviceId) -> Result<Vec<Used>> {
    tx.query(sql::STREAMS, &[&device.as_str()]).await?.iter().map(used).collect()
}

fn used(row: &Row) -> Result<Used> {
    let (stream, lane) = (StreamId(id(row, 0)?), lane(row, 1)?);
    let (up_to, tag) = (unsigned(row, 2)?, tag(row, 3)?);
    Ok(Used { position: StreamPosition { stream, lane, up_to, tag }, used: unsigned(row, 4)? })
}

async fn save(tx: &Tx, device: &DeviceId, streams: &Streams) -> Result<()> {
    let device = device.as_str();
    let forgotten: Vec<&[u8]> = streams.forgotten().map(|stream| &stream.0[..]).collect();
    if !forgotten.is_empty() {
        tx.execute(sql::FORGET_STREAMS, &[&device, &forgotten]).await?;
    }
    let moved: Vec<_> = streams.moved().collect();
    if moved.is_empty() {
        return Ok(());
    }
    let ids: Vec<&[u8]> = moved.iter().map(|it| &it.position.stream.0[..]).collect();
    let column = |of: fn(&Used) -> i64| moved.iter().map(|it| of(it)).collect::<Vec<_>>();
    let lanes = column(|it| to_column(it.position.lane.number()));
    let numbers = column(|it| to_column(it.position.up_to));
    let tags = column(|it| tag_to_column(it.position.tag));
    let used = column(|it| to_column(it.used));
    tx.execute(sql::SAVE_STREAMS, &[&device, &ids, &lanes, &numbers, &tags, &used]).await.map(drop)
}

/// Forgets the streams of a device whose id may get another holder.
pub(super) async fn forget_device(tx: &Tx, device: &DeviceId) -> Result<()> {
    let device = device.as_str();
    tx.execute(sql::FORGET_FENCE, &[&device]).await?;
    tx.execute(sql::FORGET_DEVICE, &[&device]).await.map(drop)
}
