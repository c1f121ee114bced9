//! The ways out of a reservation: delivered, dropped, later, or to the dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dead_letters::{self, Parked};
use super::rows::{Change, Head, Queue, count, heads, millis};
use super::sql;
use crate::columns::to_column;
use crate::postgres::call::Tx;
use crate::postgres::columns::{get, text};
use crate::postgres::failure::Result;
use crate::queue::{Reservation, Settled, Settlement};

/// A lane that is locked.
struct Lane {
    name: String,
    /// Of its reservation, if it has one.
    token: Option<i64>,
    head: Head,
}

/// What becomes of lanes, in columns.
#[derive(Default)]
struct Freed {
    lanes: Vec<i64>,
    due: Vec<i64>,
    places: Vec<i64>,
    /// The first item is another one.
    next: Vec<bool>,
    counted: Vec<i64>,
}

pub(super) async fn settle(
    tx: &Tx,
    name: &str,
    settlements: &[(Reservation, Settlement)],
    now: Duration,
) -> Result<Settled> {
    let mut queue = Queue::open(tx, name).await?;
    let now = queue.time(now);
    let mut lanes = lock(tx, queue.id, settlements).await?;
    let (mut freed, mut change, mut parked) = (Freed::default(), Change::default(), Vec::new());
    let (mut removed, mut emptied) = (Vec::new(), Vec::new());
    for (Reservation { lane: id, token }, settlement) in settlements {
        let Some(lane) = lanes.get_mut(id).filter(|lane| lane.token == Some(*token)) else {
            continue;
        };
        lane.token = None;
        if let Settlement::RetryAt { due, counted } = settlement {
            freed.push(*id, *due, Some(*counted));
            continue;
        }
        if let Settlement::Park { reason, at } = settlement {
            let Head { sequence, bytes, .. } = lane.head;
            let (lane, at, reason) = (lane.name.clone(), to_column(*at), text(reason));
            parked.push(Parked { sequence, lane, bytes, at, reason });
        }
        change.dropped += i64::from(*settlement == Settlement::Drop);
        change.items -= 1;
        change.bytes -= to_column(lane.head.bytes);
        removed.push(lane.head.sequence);
        emptied.push(*id);
        freed.push(*id, now, None);
    }
    let dead_letters_dropped = if parked.is_empty() {
        0
    } else {
        dead_letters::park(tx, queue.id, parked, &mut change).await?
    };
    if !removed.is_empty() {
        tx.execute(sql::REMOVE_ITEMS, &[&removed]).await?;
        tx.execute(sql::REMOVE_EMPTY_LANES, &[&emptied]).await?;
    }
    freed.save(tx).await?;
    queue.count(tx, change, now).await?;
    Ok(Settled { dead_letters_dropped, status: queue.status() })
}

/// Locks the lanes of reservations.
async fn lock(
    tx: &Tx,
    queue: i64,
    settlements: &[(Reservation, Settlement)],
) -> Result<BTreeMap<i64, Lane>> {
    let ids: Vec<_> = settlements.iter().map(|(reservation, _)| reservation.lane).collect();
    let rows = tx.query(sql::LOCK_LANES, &[&queue, &ids]).await?;
    let ids = rows.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>>>()?;
    let heads = heads(tx, &ids).await?;
    let mut lanes = BTreeMap::new();
    for (row, id) in rows.iter().zip(ids) {
        if let Some(head) = heads.get(&id) {
            lanes.insert(id, Lane { name: get(row, 1)?, token: get(row, 2)?, head: *head });
        }
    }
    Ok(lanes)
}

impl Freed {
    /// A lane waits until `due`. Without `counted` its next item is first.
    fn push(&mut self, lane: i64, due: Duration, counted: Option<bool>) {
        self.places.push(count(&self.lanes));
        self.lanes.push(lane);
        self.due.push(millis(due));
        self.next.push(counted.is_none());
        self.counted.push(counted.unwrap_or_default().into());
    }

    async fn save(&self, tx: &Tx) -> Result<()> {
        if self.lanes.is_empty() {
            return Ok(());
        }
        let Self { lanes, due, places, next, counted } = self;
        tx.execute(sql::FREE_LANES, &[lanes, due, places, next, counted]).await.map(drop)
    }
}
