//! What is due: messages that expire, and settled messages and keys that are deleted when they are old.

use fedecks_protocol::{DeviceId, Tag};

use super::queue::{Queue, Waiting, load_voids, open, save};
use super::sql;
use crate::device_queue::{DownState, DownStatus, ExpiredMessages};
use crate::postgres::call::Tx;
use crate::postgres::columns::{get, to_column};
use crate::postgres::failure::{Failure, Result};

/// How many rows of a kind a step deletes or expires.
const STEP_ROWS: i64 = 250;

/// How many devices of a kind a step opens, with what it knows of numbers that were given up.
const STEP_DEVICES: i64 = 50;

/// Whether [`expire`] has something to do.
pub(super) async fn is_due(tx: &Tx, now: u64) -> Result<bool> {
    let row = tx.query_one(sql::IS_DUE, &[&to_column(now), &to_column(old(now))]).await?;
    get(&row, 0)
}

fn old(now: u64) -> u64 {
    now.saturating_sub(DownStatus::MAX_AGE)
}

/// Does a part of what is due: first finds the devices, and then looks again while they are locked.
pub(super) async fn expire(tx: &Tx, now: u64) -> Result<ExpiredMessages> {
    let (due, old) = (to_column(now), to_column(old(now)));
    let devices = tx.query(sql::DUE_DEVICES, &[&due, &old, &STEP_DEVICES]).await?;
    let devices = devices.iter().map(|row| get(row, 0)).collect::<Result<Vec<String>>>()?;
    let mut queues = open(tx, &devices).await?;
    load_voids(tx, &mut queues).await?;
    let messages = tx.query(sql::DUE, &[&due, &devices, &STEP_ROWS]).await?;
    let (mut expired, mut held) = (Vec::new(), Vec::new());
    for row in &messages {
        let (message, device): (_, &str) = (Waiting::from_row(row)?, get(row, 5)?);
        let Some(queue) = of(&mut queues, device) else { continue };
        // One that was handed out is not found again before it is known whether it arrived.
        if queue.is_sent(message.lane, message.sequence) {
            held.push(message.number);
        } else {
            queue.give_up(&message, DownState::Expired, now);
            expired.push((device_id(device)?, message.tag));
        }
    }
    if !held.is_empty() {
        tx.execute(sql::HOLD, &[&held]).await?;
    }
    let settled = tx.query(sql::REMOVE_OLD_SETTLED, &[&old, &devices, &STEP_ROWS]).await?;
    for row in &settled {
        if let Some(queue) = of(&mut queues, get(row, 0)?) {
            queue.now.settled = queue.now.settled.saturating_sub(1);
        }
    }
    let keys = tx.query(sql::REMOVE_OLD_KEYS, &[&old, &devices, &STEP_ROWS]).await?;
    for row in &keys {
        if let Some(queue) = of(&mut queues, get(row, 0)?) {
            queue.now.keys = queue.now.keys.saturating_sub(1);
        }
    }
    save(tx, queues).await?;
    expired.sort_by(|(one, _): &(DeviceId, Tag), (other, _)| one.cmp(other));
    let more = devices.len() >= STEP_DEVICES as usize
        || [messages.len(), settled.len(), keys.len()].contains(&(STEP_ROWS as usize));
    Ok(ExpiredMessages { messages: expired, more })
}

fn device_id(text: &str) -> Result<DeviceId> {
    DeviceId::new(text).map_err(Failure::damaged)
}

/// The queue of a device, among those in the order of their devices.
fn of<'a>(queues: &'a mut [Queue], device: &str) -> Option<&'a mut Queue> {
    let place = queues.binary_search_by(|queue| queue.device.as_str().cmp(device)).ok()?;
    queues.get_mut(place)
}
