//! The statements of consumers of the message log.

/// Locks the row.
pub(super) const FIND: &str =
    "SELECT name, asked, scope, place, pending, missed, used_at FROM message_consumers
    WHERE name = $1 FOR UPDATE";
pub(super) const ALL: &str = "SELECT name, asked, scope, place, pending, missed, used_at FROM message_consumers ORDER BY name";
/// Those who add one do so one after the other, as their number is limited.
pub(super) const LOCK: &str = "LOCK TABLE message_consumers IN SHARE ROW EXCLUSIVE MODE";
/// Of at most [`ConsumerRecord::MAX`](crate::consumers::ConsumerRecord::MAX) rows.
pub(super) const COUNT: &str = "SELECT count(*) FROM message_consumers";
pub(super) const SAVE: &str = "INSERT INTO message_consumers (name, asked, scope, place, pending, missed, used_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (name) DO UPDATE SET place = excluded.place, pending = excluded.pending, missed = excluded.missed,
        used_at = excluded.used_at";
pub(super) const REMOVE: &str = "DELETE FROM message_consumers WHERE name = $1";
