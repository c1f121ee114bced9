//! The statements of kept messages.

pub(super) const INSTALLATION: &str = "SELECT id FROM installation";

/// Locks the row of the device.
pub(super) const OPEN: &str = "INSERT INTO up_devices (device, fence) VALUES ($1, $2)
    ON CONFLICT (device) DO UPDATE SET fence = excluded.fence";
/// Locks the row of the device.
pub(super) const FENCE: &str = "SELECT fence FROM up_devices WHERE device = $1 FOR UPDATE";
pub(super) const FORGET_FENCE: &str = "DELETE FROM up_devices WHERE device = $1";
/// Never more than the lanes may have.
pub(super) const STREAMS: &str =
    "SELECT stream, lane, up_to, tag, used FROM up_streams WHERE device = $1 ORDER BY used";
pub(super) const SAVE_STREAMS: &str = "INSERT INTO up_streams (device, stream, lane, up_to, tag, used)
        SELECT $1, moved.* FROM unnest($2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) AS moved
    ON CONFLICT (device, stream) DO UPDATE SET up_to = excluded.up_to, tag = excluded.tag, used = excluded.used";
pub(super) const FORGET_STREAMS: &str =
    "DELETE FROM up_streams WHERE device = $1 AND stream = ANY($2)";
pub(super) const FORGET_DEVICE: &str = "DELETE FROM up_streams WHERE device = $1";

/// Takes numbers, and locks the row of the log until the end of the transaction: nothing is locked after it. A reader that
/// has read up to a number misses none, as they are committed in their order.
pub(super) const ADD_LOGGED: &str = "
    WITH state AS (
        UPDATE message_log_state SET newest = newest + $2, bytes = bytes + $3 WHERE id = 0 RETURNING newest - $2 AS before)
    INSERT INTO message_log (number, device, lane, tag, redelivered, sent_at_ms, at, raw, bytes, body)
        SELECT state.before + message.place, $1, message.lane, message.tag, message.redelivered, message.sent_at_ms,
            message.at, message.raw, message.bytes, message.body
        FROM state, unnest($4::bigint[], $5::bigint[], $6::bool[], $7::bigint[], $8::bigint[], $9::bool[],
                $10::bigint[], $11::bytea[]) WITH ORDINALITY
            AS message (lane, tag, redelivered, sent_at_ms, at, raw, bytes, body, place)";
/// A page without contents.
pub(super) const HEADERS: &str = "SELECT number, device, bytes FROM message_log
    WHERE number > $1 ORDER BY number LIMIT $2";
pub(super) const LOGGED: &str =
    "SELECT number, device, lane, tag, redelivered, sent_at_ms, at, raw, body
    FROM message_log WHERE number = ANY($1) ORDER BY number";
pub(super) const STATUS: &str = "SELECT oldest, newest, bytes FROM message_log_state WHERE id = 0";
pub(super) const OLDEST: &str = "SELECT number, at, bytes FROM message_log
    WHERE number >= $1 ORDER BY number LIMIT $2";
/// Someone else may delete the same ones.
pub(super) const TRIM: &str = "
    WITH removed AS (DELETE FROM message_log WHERE number >= $1 AND number <= $2 RETURNING bytes)
    SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM removed";
pub(super) const TRIMMED: &str = "UPDATE message_log_state
    SET oldest = greatest(oldest, $1::bigint + 1), bytes = greatest(bytes - $2, 0) WHERE id = 0";
