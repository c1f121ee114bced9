//! The statements of the messages for devices.

/// Locks the row of each device, in their order, and adds those that are missing.
pub(super) const OPEN: &str = "INSERT INTO down_devices (device)
        SELECT device FROM unnest($1::text[]) AS opened (device) ORDER BY device COLLATE \"C\"
    ON CONFLICT (device) DO UPDATE SET device = excluded.device
    RETURNING device, waiting, bytes, settled, keys";
/// Locks the row of a device.
pub(super) const LOCK: &str =
    "SELECT device, waiting, bytes, settled, keys FROM down_devices WHERE device = $1 FOR UPDATE";
pub(super) const SAVE_COUNTERS: &str =
    "UPDATE down_devices SET waiting = counted.waiting, bytes = counted.bytes,
        settled = counted.settled, keys = counted.keys
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
        AS counted (device, waiting, bytes, settled, keys)
    WHERE down_devices.device = counted.device";
pub(super) const REMOVE_COUNTERS: &str = "DELETE FROM down_devices WHERE device = ANY($1)";
/// Locks the row of all devices until the end of the transaction, and is one of its last steps for that.
pub(super) const GROW: &str = "UPDATE down_size SET bytes = greatest(bytes + $1, 0) WHERE id = 0 AND ($2::bigint IS NULL OR bytes + $1 <= $2)";
/// Reads the small row of each device that has messages or keys: seldom.
pub(super) const WAITING_OF_ALL: &str = "SELECT coalesce(sum(waiting), 0)::bigint,
    coalesce((SELECT bytes FROM down_size WHERE id = 0), 0) FROM down_devices";

/// Never more than one of each lane.
pub(super) const STREAMS: &str =
    "SELECT device, lane, stream, newest, acknowledged, tag, tried FROM down_streams
    WHERE device = ANY($1)";
pub(super) const SAVE_STREAMS: &str = "INSERT INTO down_streams (device, lane, stream, newest, acknowledged, tag, tried)
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
    ON CONFLICT (device, lane) DO UPDATE SET stream = excluded.stream, newest = excluded.newest,
        acknowledged = excluded.acknowledged, tag = excluded.tag, tried = excluded.tried";
pub(super) const REMOVE_STREAMS: &str = "DELETE FROM down_streams WHERE device = $1";

pub(super) const VOIDS: &str =
    "SELECT device, lane, first, last, reason FROM down_voids WHERE device = ANY($1)";
pub(super) const ADD_VOIDS: &str = "INSERT INTO down_voids (device, lane, first, last, reason)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])";
pub(super) const REMOVE_VOIDS: &str = "DELETE FROM down_voids
    USING unnest($1::text[], $2::bigint[], $3::bigint[]) AS removed (device, lane, last)
    WHERE down_voids.device = removed.device AND down_voids.lane = removed.lane AND down_voids.last = removed.last";
pub(super) const REMOVE_VOIDS_TO: &str =
    "DELETE FROM down_voids WHERE device = $1 AND lane = $2 AND last <= $3";
pub(super) const REMOVE_ALL_VOIDS: &str = "DELETE FROM down_voids WHERE device = $1";

pub(super) const ADD: &str = "INSERT INTO down_messages
    (device, tag, lane, sequence, at, changed_at, expires_at, collapse_key, raw, bytes, body)
    VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10)";
pub(super) const BY_TAG: &str = "SELECT number, tag, lane, sequence, bytes, state, at, changed_at, expires_at,
        (SELECT tried FROM down_streams AS stream WHERE stream.device = message.device AND stream.lane = message.lane)
    FROM down_messages AS message WHERE device = $1 AND tag = $2";
pub(super) const OF_DEVICE: &str = "SELECT number, tag, lane, sequence, bytes, state, at, changed_at, expires_at,
        (SELECT tried FROM down_streams AS stream WHERE stream.device = message.device AND stream.lane = message.lane)
    FROM down_messages AS message WHERE device = $1 AND number < $2 ORDER BY number DESC LIMIT $3";
pub(super) const BY_KEY: &str = "SELECT number, tag, lane, sequence, bytes FROM down_messages
    WHERE device = $1 AND collapse_key = $2 AND sequence IS NOT NULL ORDER BY number";
pub(super) const WAITING: &str = "SELECT number, tag, lane, sequence, bytes FROM down_messages
    WHERE device = $1 AND lane = $2 AND sequence > $3 AND sequence <= $4 ORDER BY sequence";
pub(super) const TAG_AT: &str =
    "SELECT tag FROM down_messages WHERE device = $1 AND lane = $2 AND sequence = $3";
pub(super) const HEADS: &str = "SELECT number, tag, lane, sequence, bytes, raw, at, expires_at, redelivered,
        coalesce(octet_length(body), 0)::bigint
    FROM down_messages WHERE device = $1 AND lane = $2 AND sequence > $3 ORDER BY sequence LIMIT $4";
pub(super) const BODIES: &str = "SELECT number, body FROM down_messages WHERE number = ANY($1)";
pub(super) const SETTLE: &str = "UPDATE down_messages
    SET sequence = NULL, state = settled.state, changed_at = settled.at, collapse_key = NULL, body = NULL
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS settled (number, state, at)
    WHERE down_messages.number = settled.number";
/// The new numbers, as negative ones: those in use are not free yet.
pub(super) const RENUMBER: &str = "UPDATE down_messages SET sequence = -renumbered.sequence, redelivered = TRUE, held = FALSE
    FROM (SELECT number, row_number() OVER (ORDER BY down_messages.sequence) AS sequence FROM down_messages
          WHERE device = $1 AND lane = $2 AND sequence > 0) AS renumbered
    WHERE down_messages.number = renumbered.number";
pub(super) const RENUMBERED: &str = "UPDATE down_messages SET sequence = -sequence WHERE device = $1 AND lane = $2 AND sequence < 0";
pub(super) const TAKE_BACK: &str = "UPDATE down_messages SET held = FALSE, redelivered = TRUE
    WHERE device = $1 AND lane = $2 AND sequence > $3 AND sequence <= $4";

pub(super) const IS_DUE: &str = "SELECT
    EXISTS (SELECT 1 FROM down_messages WHERE sequence IS NOT NULL AND NOT held AND expires_at <= $1)
    OR EXISTS (SELECT 1 FROM down_messages WHERE sequence IS NULL AND changed_at <= $2)
    OR EXISTS (SELECT 1 FROM down_keys WHERE at <= $2)";
pub(super) const DUE_DEVICES: &str = "
    (SELECT device FROM down_messages WHERE sequence IS NOT NULL AND NOT held AND expires_at <= $1
     ORDER BY expires_at LIMIT $3)
    UNION (SELECT device FROM down_messages WHERE sequence IS NULL AND changed_at <= $2 ORDER BY changed_at LIMIT $3)
    UNION (SELECT device FROM down_keys WHERE at <= $2 ORDER BY at LIMIT $3)";
pub(super) const DUE: &str = "SELECT number, tag, lane, sequence, bytes, device FROM down_messages
    WHERE sequence IS NOT NULL AND NOT held AND expires_at <= $1 AND device = ANY($2) ORDER BY expires_at LIMIT $3";
pub(super) const HOLD: &str = "UPDATE down_messages SET held = TRUE WHERE number = ANY($1)";
pub(super) const REMOVE_OLD_SETTLED: &str = "DELETE FROM down_messages WHERE number IN
    (SELECT number FROM down_messages WHERE sequence IS NULL AND changed_at <= $1 AND device = ANY($2)
     ORDER BY changed_at LIMIT $3) RETURNING device";
pub(super) const REMOVE_OLD_KEYS: &str = "DELETE FROM down_keys WHERE (device, key) IN
    (SELECT device, key FROM down_keys WHERE at <= $1 AND device = ANY($2) ORDER BY at LIMIT $3) RETURNING device";
pub(super) const REMOVE_OLDEST_SETTLED: &str = "DELETE FROM down_messages WHERE number IN
    (SELECT number FROM down_messages WHERE device = $1 AND sequence IS NULL
     ORDER BY changed_at, number LIMIT $2)";

pub(super) const KEY: &str = "SELECT digest, tag, at FROM down_keys WHERE device = $1 AND key = $2";
pub(super) const ADD_KEY: &str =
    "INSERT INTO down_keys (device, key, digest, tag, at) VALUES ($1, $2, $3, $4, $5)";
pub(super) const REMOVE_KEY: &str = "DELETE FROM down_keys WHERE device = $1 AND key = $2";
pub(super) const REMOVE_OLDEST_KEYS: &str = "DELETE FROM down_keys WHERE device = $1 AND key IN
    (SELECT key FROM down_keys WHERE device = $1 ORDER BY at LIMIT $2)";
