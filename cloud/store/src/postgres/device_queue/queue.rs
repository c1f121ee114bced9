//! The messages of a device while the row of the device is locked: its streams, its counters, and the ways out of them
//! for a message. Several devices are saved together.

use fedecks_protocol::{Lane, SkipReason, StreamId, Tag};
use tokio_postgres::Row;

use super::sql;
use super::voids::{Void, Voids};
use crate::columns::{down_state_from_column, down_state_to_column};
use crate::device_queue::{DownState, DownStatus, DropReason, IdempotencyKey};
use crate::postgres::call::{Tx, Values};
use crate::postgres::columns::{get, id, lane, tag, tag_to_column, to_column, unsigned};
use crate::postgres::failure::{Failure, Result};

/// The queue of a device. Changes take effect with [`save`].
pub(super) struct Queue {
    pub(super) device: String,
    pub(super) streams: Vec<Stream>,
    /// Empty until [`load_voids`].
    pub(super) voids: Voids,
    pub(super) now: Counters,
    before: (Vec<Stream>, Counters),
    settled: Vec<(i64, DownState, u64)>,
    /// How much of the bytes is counted in the sum of all devices already.
    pub(super) counted: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counters {
    /// The number of messages that wait.
    pub(super) waiting: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// The number of settled messages.
    pub(super) settled: u64,
    /// The number of idempotency keys.
    pub(super) keys: u64,
}

/// The stream of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) lane: Lane,
    pub(super) id: StreamId,
    /// The last number.
    pub(super) newest: u64,
    /// Up to here the device is done.
    pub(super) acknowledged: u64,
    /// The tag of that number; 0 if it is not known.
    pub(super) tag: Tag,
    /// The last number that was handed out, and may have arrived; not less than `acknowledged`.
    pub(super) tried: u64,
}

/// A message that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) number: i64,
    pub(super) tag: Tag,
    pub(super) lane: Lane,
    pub(super) sequence: u64,
    pub(super) bytes: u64,
}

impl Waiting {
    /// Reads the first columns of a row.
    pub(super) fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            number: get(row, 0)?,
            tag: tag(row, 1)?,
            lane: lane(row, 2)?,
            sequence: unsigned(row, 3)?,
            bytes: unsigned(row, 4)?,
        })
    }
}

impl Stream {
    /// An empty stream.
    pub(super) fn new(lane: Lane) -> Self {
        let id = StreamId(rand::random());
        Self { lane, id, newest: 0, acknowledged: 0, tag: Tag(0), tried: 0 }
    }

    /// Reads a row of [`sql::STREAMS`].
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            lane: lane(row, 1)?,
            id: StreamId(id(row, 2)?),
            newest: unsigned(row, 3)?,
            acknowledged: unsigned(row, 4)?,
            tag: tag(row, 5)?,
            tried: unsigned(row, 6)?,
        })
    }
}

impl Queue {
    /// That of a device, whose row is locked; `None` if nothing was ever queued.
    pub(super) async fn lock(tx: &Tx, device: &str) -> Result<Option<Self>> {
        let row = tx.query_opt(sql::LOCK, &[&device]).await?;
        Ok(load(tx, row.as_slice()).await?.pop())
    }

    /// That of a device, whose row is locked, and added if it has none.
    pub(super) async fn open(tx: &Tx, device: &str) -> Result<Self> {
        let opened = open(tx, &[device.to_owned()]).await?.pop();
        opened.ok_or_else(|| Failure::damaged("a new queue has no row"))
    }

    /// That of a device, as it was when the snapshot of the transaction was taken.
    pub(super) async fn read(tx: &Tx, device: &str) -> Result<Self> {
        let mut queue = Self::new(device.to_owned(), Counters::default());
        load_streams(tx, std::slice::from_mut(&mut queue)).await?;
        Ok(queue)
    }

    fn new(device: String, now: Counters) -> Self {
        let (before, voids) = ((Vec::new(), now), Voids::default());
        Self { device, streams: Vec::new(), voids, now, before, settled: Vec::new(), counted: 0 }
    }

    pub(super) fn stream(&self, lane: Lane) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.lane == lane)
    }

    pub(super) fn stream_mut(&mut self, lane: Lane) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.lane == lane)
    }

    /// Whether a message was handed out, and may have arrived.
    pub(super) fn is_sent(&self, lane: Lane, sequence: u64) -> bool {
        self.stream(lane).is_some_and(|stream| sequence <= stream.tried)
    }

    /// The messages of a lane with these numbers.
    pub(super) async fn waiting(
        &self,
        tx: &Tx,
        lane: Lane,
        after: u64,
        up_to: u64,
    ) -> Result<Vec<Waiting>> {
        let [lane, after, up_to] = [lane.number(), after, up_to].map(to_column);
        let rows = tx.query(sql::WAITING, &[&self.device, &lane, &after, &up_to]).await?;
        rows.iter().map(Waiting::from_row).collect()
    }

    /// Takes a message out of its stream for good.
    pub(super) fn settle(&mut self, message: &Waiting, state: DownState, at: u64) {
        self.settled.push((message.number, state, at));
        self.now.waiting = self.now.waiting.saturating_sub(1);
        self.now.bytes = self.now.bytes.saturating_sub(message.bytes);
        self.now.settled += 1;
    }

    /// Gives up a message that was not handed out. Its number stays in the stream. Needs [`load_voids`].
    pub(super) fn give_up(&mut self, message: &Waiting, state: DownState, at: u64) {
        let reason = match state {
            DownState::Dropped(DropReason::Replaced) => SkipReason::Replaced,
            DownState::Dropped(_) => SkipReason::Cancelled,
            _ => SkipReason::Expired,
        };
        self.voids.add(message.lane, message.sequence, reason);
        self.settle(message, state, at);
    }

    /// By how much the bytes have changed, as far as the sum of all devices does not say so yet.
    fn grown(&self) -> i64 {
        let grown = to_column(self.now.bytes).saturating_sub(to_column(self.before.1.bytes));
        grown.saturating_sub(self.counted)
    }
}

/// Those of these devices, whose rows are locked, and added if they are missing.
pub(super) async fn open(tx: &Tx, devices: &[String]) -> Result<Vec<Queue>> {
    let rows = tx.query(sql::OPEN, &[&devices]).await?;
    load(tx, &rows).await
}

async fn load(tx: &Tx, rows: &[Row]) -> Result<Vec<Queue>> {
    let queue = |row| {
        let [waiting, bytes, settled, keys] = [1, 2, 3, 4].map(|column| unsigned(row, column));
        let now = Counters { waiting: waiting?, bytes: bytes?, settled: settled?, keys: keys? };
        Ok(Queue::new(get(row, 0)?, now))
    };
    let mut queues = rows.iter().map(queue).collect::<Result<Vec<_>>>()?;
    queues.sort_by(|one, other| one.device.cmp(&other.device));
    load_streams(tx, &mut queues).await?;
    Ok(queues)
}

async fn load_streams(tx: &Tx, queues: &mut [Queue]) -> Result<()> {
    for row in tx.query(sql::STREAMS, &[&devices(queues)]).await? {
        if let Some(queue) = of(queues, &row)? {
            queue.streams.push(Stream::from_row(&row)?);
        }
    }
    for queue in queues {
        queue.before.0.clone_from(&queue.streams);
    }
    Ok(())
}

/// Loads the ranges of numbers without a message.
pub(super) async fn load_voids(tx: &Tx, queues: &mut [Queue]) -> Result<()> {
    for row in tx.query(sql::VOIDS, &[&devices(queues)]).await? {
        if let Some(queue) = of(queues, &row)? {
            let (first, last) = (unsigned(&row, 2)?, unsigned(&row, 3)?);
            let reason = SkipReason::from_number(unsigned(&row, 4)?);
            queue.voids.push_stored(unsigned(&row, 1)?, Void { first, last, reason });
        }
    }
    Ok(())
}

fn devices(queues: &[Queue]) -> Vec<String> {
    queues.iter().map(|queue| queue.device.clone()).collect()
}

/// The queue of the device in the first column, among those in the order of their devices.
fn of<'a>(queues: &'a mut [Queue], row: &Row) -> Result<Option<&'a mut Queue>> {
    let device: &str = get(row, 0)?;
    let place = queues.binary_search_by(|queue| queue.device.as_str().cmp(device));
    Ok(place.ok().and_then(|place| queues.get_mut(place)))
}

/// Stores what has changed, and removes what exceeds the bounds. The sum of all devices is changed last.
pub(super) async fn save(tx: &Tx, mut queues: Vec<Queue>) -> Result<()> {
    save_settled(tx, &queues).await?;
    save_voids(tx, &queues).await?;
    for queue in &mut queues {
        bound(tx, queue).await?;
    }
    save_streams(tx, &queues).await?;
    save_counters(tx, &queues).await?;
    let grown: i64 = queues.iter().map(Queue::grown).sum();
    if grown != 0 {
        tx.execute(sql::GROW, &[&grown, &None::<i64>]).await?;
    }
    Ok(())
}

async fn save_settled(tx: &Tx, queues: &[Queue]) -> Result<()> {
    let (mut numbers, mut states, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for (number, state, at) in queues.iter().flat_map(|queue| &queue.settled) {
        numbers.push(*number);
        states.push(down_state_to_column(*state));
        times.push(to_column(*at));
    }
    if !numbers.is_empty() {
        tx.execute(sql::SETTLE, &[&numbers, &states, &times]).await?;
    }
    Ok(())
}

async fn save_voids(tx: &Tx, queues: &[Queue]) -> Result<()> {
    let columns = |added: bool| {
        let mut columns = (Vec::new(), [const { Vec::new() }; 4]);
        for queue in queues {
            let voids: &mut dyn Iterator<Item = _> =
                if added { &mut queue.voids.added() } else { &mut queue.voids.removed() };
            for (lane, Void { first, last, reason }) in voids {
                columns.0.push(queue.device.clone());
                let values = [lane, first, last, reason.number()].map(to_column);
                columns.1.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
            }
        }
        columns
    };
    let (devices, [lanes, _, last, _]) = columns(false);
    if !devices.is_empty() {
        tx.execute(sql::REMOVE_VOIDS, &[&devices, &lanes, &last]).await?;
    }
    let (devices, [lanes, first, last, reasons]) = columns(true);
    if !devices.is_empty() {
        tx.execute(sql::ADD_VOIDS, &[&devices, &lanes, &first, &last, &reasons]).await?;
    }
    Ok(())
}

async fn bound(tx: &Tx, queue: &mut Queue) -> Result<()> {
    let excess = queue.now.settled.saturating_sub(DownStatus::MAX_SETTLED);
    if excess > 0 {
        let values: Values<'_> = &[&queue.device, &to_column(excess)];
        let removed = tx.execute(sql::REMOVE_OLDEST_SETTLED, values).await?;
        queue.now.settled = queue.now.settled.saturating_sub(removed);
    }
    let excess = queue.now.keys.saturating_sub(IdempotencyKey::MAX_PER_DEVICE);
    if excess > 0 {
        let values: Values<'_> = &[&queue.device, &to_column(excess)];
        let removed = tx.execute(sql::REMOVE_OLDEST_KEYS, values).await?;
        queue.now.keys = queue.now.keys.saturating_sub(removed);
    }
    Ok(())
}

async fn save_streams(tx: &Tx, queues: &[Queue]) -> Result<()> {
    let changed: Vec<(&str, &Stream)> = queues
        .iter()
        .flat_map(|queue| queue.streams.iter().map(move |stream| (queue, stream)))
        .filter(|(queue, stream)| !queue.before.0.contains(stream))
        .map(|(queue, stream)| (queue.device.as_str(), stream))
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let devices: Vec<&str> = changed.iter().map(|(device, _)| *device).collect();
    let ids: Vec<&[u8]> = changed.iter().map(|(_, stream)| &stream.id.0[..]).collect();
    let column = |of: fn(&Stream) -> i64| -> Vec<i64> {
        changed.iter().map(|(_, stream)| of(stream)).collect()
    };
    let values: Values<'_> = &[
        &devices,
        &column(|stream| to_column(stream.lane.number())),
        &ids,
        &column(|stream| to_column(stream.newest)),
        &column(|stream| to_column(stream.acknowledged)),
        &column(|stream| tag_to_column(stream.tag)),
        &column(|stream| to_column(stream.tried)),
    ];
    tx.execute(sql::SAVE_STREAMS, values).await.map(drop)
}

async fn save_counters(tx: &Tx, queues: &[Queue]) -> Result<()> {
    let is_empty = |queue: &&Queue| queue.now == Counters::default() && queue.streams.is_empty();
    let empty: Vec<&str> = queues.iter().filter(is_empty).map(|it| it.device.as_str()).collect();
    if !empty.is_empty() {
        tx.execute(sql::REMOVE_COUNTERS, &[&empty]).await?;
    }
    let is_changed = |queue: &&Queue| queue.now != queue.before.1 && !is_empty(queue);
    let changed: Vec<&Queue> = queues.iter().filter(is_changed).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let devices: Vec<&str> = changed.iter().map(|queue| queue.device.as_str()).collect();
    let column = |of: fn(&Counters) -> u64| -> Vec<i64> {
        changed.iter().map(|queue| to_column(of(&queue.now))).collect()
    };
    let (waiting, bytes) = (column(|it| it.waiting), column(|it| it.bytes));
    let (settled, keys) = (column(|it| it.settled), column(|it| it.keys));
    tx.execute(sql::SAVE_COUNTERS, &[&devices, &waiting, &bytes, &settled, &keys]).await.map(drop)
}

/// Reads a state; a message that waits is [`DownState::Queued`].
pub(super) fn state(row: &Row, column: usize) -> Result<DownState> {
    let number: i64 = get(row, column)?;
    down_state_from_column(number)
        .ok_or_else(|| Failure::damaged(format!("{number} is not a state")))
}
