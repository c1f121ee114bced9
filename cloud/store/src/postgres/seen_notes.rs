//! When devices were connected, as the write-behind buffer writes it to their rows.

use super::call::Tx;
use super::columns::{later_of, to_column};
use super::failure::Failure;
use crate::notes::Seen;

/// Notes when devices were connected. One that was forgotten since then stays forgotten.
pub(super) async fn write_seen(tx: &Tx, mut notes: Vec<(&str, Seen)>) -> Result<(), Failure> {
    if notes.is_empty() {
        return Ok(());
    }
    notes.sort_unstable_by_key(|(device, _)| *device);
    let devices: Vec<&str> = notes.iter().map(|(device, _)| *device).collect();
    let column = |of: fn(&Seen) -> Option<u64>| -> Vec<Option<i64>> {
        notes.iter().map(|(_, seen)| of(seen).map(to_column)).collect()
    };
    let times = column(|seen| Some(seen.at));
    let generations = column(|seen| Some(seen.generation));
    let by_token = column(|seen| seen.by_token);
    let add = "INSERT INTO devices (id) SELECT id FROM unnest($1::text[]) AS note (id) ORDER BY id
        ON CONFLICT (id) DO NOTHING";
    tx.execute(add, &[&devices]).await?;
    // In the order in which all do that lock several devices.
    let lock = "SELECT 1 FROM devices WHERE id = ANY ($1) ORDER BY id FOR UPDATE";
    tx.query(lock, &[&devices]).await?;
    let note = format!(
        "UPDATE devices AS device
         SET first_seen = least(device.first_seen, note.at), last_seen = {}, forgotten = false,
             came_by_token = came_by_token OR coalesce(note.by_token >= device.generation, false),
             nonce = CASE WHEN note.by_token >= device.generation THEN NULL ELSE nonce END
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
             AS note (id, at, generation, by_token)
         WHERE device.id = note.id AND (NOT forgotten OR device.generation <= note.generation)",
        later_of("device.last_seen", "note.at")
    );
    tx.execute(&note, &[&devices, &times, &generations, &by_token]).await.map(drop)
}
