//! The statements of kept messages. A test checks that each finds its rows by an index.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:literal;)+) => {
        $($(#[$doc])* pub(super) const $name: &str = $sql;)+

        #[cfg(test)]
        pub(super) const ALL: &[&str] = &[$($name,)+];
    };
}

statements! {
    OPEN = "INSERT INTO up_devices (device, fence) VALUES (?1, ?2)
        ON CONFLICT (device) DO UPDATE SET fence = excluded.fence";
    FENCE = "SELECT fence FROM up_devices WHERE device = ?1";
    FORGET_FENCE = "DELETE FROM up_devices WHERE device = ?1";
    POSITIONS = "SELECT stream, lane, up_to, tag FROM up_streams WHERE device = ?1";
    UP_TO = "SELECT up_to FROM up_streams WHERE device = ?1 AND stream = ?2";
    /// `used` is higher than that of every other stream of the device.
    SAVE_POSITION = "INSERT INTO up_streams (device, stream, lane, up_to, tag, used)
        VALUES (?1, ?2, ?3, ?4, ?5, (SELECT ifnull(max(used), 0) + 1 FROM up_streams WHERE device = ?1))
        ON CONFLICT (device, stream) DO UPDATE SET up_to = excluded.up_to, tag = excluded.tag, used = excluded.used";
    /// Never more than a lane may have, and one.
    STREAMS_OF_LANE = "SELECT count(*), min(used) FROM up_streams WHERE device = ?1 AND lane = ?2";
    FORGET_USED = "DELETE FROM up_streams WHERE device = ?1 AND used = ?2";
    FORGET_STREAM = "DELETE FROM up_streams WHERE device = ?1 AND stream = ?2";
    FORGET_DEVICE = "DELETE FROM up_streams WHERE device = ?1";

    ADD_LOGGED = "INSERT INTO message_log (device, lane, tag, redelivered, sent_at_ms, at, raw, bytes, body)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    LOGGED = "SELECT number, device, lane, tag, redelivered, sent_at_ms, at, raw, bytes, body FROM message_log
        WHERE number > ?1 ORDER BY number LIMIT ?2";
    LOG_SIZE = "SELECT bytes FROM message_log_size WHERE id = 0";
    GROW_LOG = "UPDATE message_log_size SET bytes = bytes + ?1 WHERE id = 0";
    FIRST_LOGGED = "SELECT number, at, bytes FROM message_log ORDER BY number LIMIT 1";
    LAST_LOGGED = "SELECT seq FROM sqlite_sequence WHERE name = 'message_log'";
    REMOVE_LOGGED = "DELETE FROM message_log WHERE number = ?1";
}
