//! The statements of the messages for devices. A test checks that each in the list finds its rows by an index.

/// Reads the small row of each device that has messages or keys: seldom.
pub(super) const WAITING_OF_ALL: &str = "SELECT ifnull(sum(waiting), 0) FROM down_devices";

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:literal;)+) => {
        $($(#[$doc])* pub(super) const $name: &str = $sql;)+

        #[cfg(test)]
        pub(super) const ALL: &[&str] = &[$($name,)+];
    };
}

statements! {
    COUNTERS = "SELECT waiting, bytes, settled, keys FROM down_devices WHERE device = ?1";
    SAVE_COUNTERS = "INSERT INTO down_devices (device, waiting, bytes, settled, keys) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (device) DO UPDATE SET waiting = excluded.waiting, bytes = excluded.bytes,
            settled = excluded.settled, keys = excluded.keys";
    REMOVE_COUNTERS = "DELETE FROM down_devices WHERE device = ?1";
    SIZE = "SELECT bytes FROM down_size WHERE id = 0";
    GROW = "UPDATE down_size SET bytes = bytes + ?1 WHERE id = 0";

    /// Never more than one of each lane.
    STREAMS = "SELECT lane, stream, newest, acknowledged, tag, tried, voids FROM down_streams WHERE device = ?1";
    SAVE_STREAM = "INSERT INTO down_streams (device, lane, stream, newest, acknowledged, tag, tried, voids)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
        ON CONFLICT (device, lane) DO UPDATE SET stream = excluded.stream, newest = excluded.newest,
            acknowledged = excluded.acknowledged, tag = excluded.tag, tried = excluded.tried, voids = excluded.voids";
    REMOVE_STREAMS = "DELETE FROM down_streams WHERE device = ?1";

    VOID_FROM = "SELECT first, last, reason FROM down_voids WHERE device = ?1 AND lane = ?2 AND last >= ?3
        ORDER BY last LIMIT 1";
    ADD_VOID = "INSERT INTO down_voids (device, lane, first, last, reason) VALUES (?1, ?2, ?3, ?4, ?5)";
    REMOVE_VOID = "DELETE FROM down_voids WHERE device = ?1 AND lane = ?2 AND last = ?3";
    REMOVE_VOIDS_TO = "DELETE FROM down_voids WHERE device = ?1 AND lane = ?2 AND last <= ?3";
    REMOVE_ALL_VOIDS = "DELETE FROM down_voids WHERE device = ?1";

    ADD = "INSERT INTO down_messages
        (device, tag, lane, sequence, at, changed_at, expires_at, collapse_key, raw, bytes, body)
        VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8, ?9, ?10)";
    BY_TAG = "SELECT number, tag, lane, sequence, bytes, state, at, changed_at, expires_at FROM down_messages
        WHERE device = ?1 AND tag = ?2";
    OF_DEVICE = "SELECT number, tag, lane, sequence, bytes, state, at, changed_at, expires_at FROM down_messages
        WHERE device = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3";
    BY_KEY = "SELECT number, tag, lane, sequence, bytes FROM down_messages
        WHERE device = ?1 AND collapse_key = ?2 AND sequence IS NOT NULL";
    WAITING = "SELECT number, tag, lane, sequence, bytes FROM down_messages
        WHERE device = ?1 AND lane = ?2 AND sequence > ?3 AND sequence <= ?4 ORDER BY sequence";
    AT = "SELECT number, tag, lane, sequence, bytes, raw, at, expires_at, redelivered, octet_length(body)
        FROM down_messages WHERE device = ?1 AND lane = ?2 AND sequence = ?3";
    BODY = "SELECT body FROM down_messages WHERE number = ?1";
    SETTLE = "UPDATE down_messages
        SET sequence = NULL, state = ?2, changed_at = ?3, collapse_key = NULL, body = NULL WHERE number = ?1";
    RENUMBER = "UPDATE down_messages SET sequence = ?2, redelivered = 1, held = 0 WHERE number = ?1";
    DUE = "SELECT number, tag, lane, sequence, bytes, device FROM down_messages
        WHERE sequence IS NOT NULL AND held = 0 AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2";
    HOLD = "UPDATE down_messages SET held = 1 WHERE number = ?1";
    TAKE_BACK = "UPDATE down_messages SET held = 0, redelivered = 1
        WHERE device = ?1 AND lane = ?2 AND sequence > ?3 AND sequence <= ?4";

    REMOVE_OLDEST_SETTLED = "DELETE FROM down_messages WHERE number IN (
        SELECT number FROM down_messages WHERE device = ?1 AND sequence IS NULL ORDER BY changed_at LIMIT ?2)";
    OLD_SETTLED = "SELECT number, device FROM down_messages WHERE sequence IS NULL AND changed_at <= ?1
        ORDER BY changed_at LIMIT ?2";
    REMOVE = "DELETE FROM down_messages WHERE number = ?1";

    KEY = "SELECT digest, tag, at FROM down_keys WHERE device = ?1 AND key = ?2";
    ADD_KEY = "INSERT INTO down_keys (device, key, digest, tag, at) VALUES (?1, ?2, ?3, ?4, ?5)";
    REMOVE_KEY = "DELETE FROM down_keys WHERE device = ?1 AND key = ?2";
    OLDEST_KEY = "SELECT key FROM down_keys WHERE device = ?1 ORDER BY at LIMIT 1";
    OLD_KEYS = "SELECT device, key FROM down_keys WHERE at <= ?1 ORDER BY at LIMIT ?2";
}
