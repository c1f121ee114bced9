//! The statements of the queues. A test checks that each finds its rows by an index.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:literal;)+) => {
        $($(#[$doc])* pub(super) const $name: &str = $sql;)+

        #[cfg(test)]
        pub(super) const ALL: &[&str] = &[$($name,)+];
    };
}

statements! {
    FIND_QUEUE = "SELECT queue, time, turn, items, bytes, dropped, parked, parked_bytes FROM queues
        WHERE name = ?1";
    ADD_QUEUE = "INSERT INTO queues (name) VALUES (?1)";
    SAVE_QUEUE = "UPDATE queues SET time = ?2, turn = ?3, items = ?4, bytes = ?5, dropped = ?6, parked = ?7,
        parked_bytes = ?8 WHERE queue = ?1";
    REMOVE_QUEUE = "DELETE FROM queues WHERE queue = ?1";
    QUEUE_NAMES = "SELECT name FROM queues WHERE name >= ?1 ORDER BY name";

    FIND_LANE = "SELECT lane FROM queue_lanes WHERE queue = ?1 AND name = ?2";
    ADD_LANE = "INSERT INTO queue_lanes (queue, name, due, turn) VALUES (?1, ?2, ?3, ?4)";
    /// The lane that has been ready for longest.
    NEXT_LANE = "SELECT lane, name, attempts, failures FROM queue_lanes
        WHERE queue = ?1 AND due <= ?2 ORDER BY due, turn LIMIT 1";
    NEXT_DUE = "SELECT due FROM queue_lanes WHERE queue = ?1 ORDER BY due, turn LIMIT 1";
    RESERVE_LANE = "UPDATE queue_lanes SET due = ?2, token = ?3, attempts = attempts + 1 WHERE lane = ?1";
    RESERVED_LANE = "SELECT name FROM queue_lanes WHERE lane = ?1 AND queue = ?2 AND token = ?3";
    DELAY_LANE = "UPDATE queue_lanes SET due = ?2, turn = ?3, token = NULL, failures = failures + ?4
        WHERE lane = ?1";
    /// With its next item.
    ADVANCE_LANE = "UPDATE queue_lanes SET due = ?2, turn = ?3, token = NULL, attempts = 0, failures = 0
        WHERE lane = ?1";
    /// Its first item was dropped, unless it is reserved.
    RESET_FAILURES = "UPDATE queue_lanes SET failures = 0 WHERE lane = ?1 AND token IS NULL";
    RELEASE_LANES = "UPDATE queue_lanes SET due = ?2, token = NULL WHERE lane IN
        (SELECT lane FROM queue_lanes WHERE queue = ?1 AND due > ?2 LIMIT ?3)";
    REMOVE_LANE = "DELETE FROM queue_lanes WHERE lane = ?1";

    ADD_ITEM = "INSERT INTO queue_items (queue, lane, id, at, since, bytes, body)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    HEAD = "SELECT sequence, bytes FROM queue_items WHERE lane = ?1 ORDER BY sequence LIMIT 1";
    ITEM = "SELECT id, at, since, body FROM queue_items WHERE sequence = ?1";
    REMOVE_ITEM = "DELETE FROM queue_items WHERE sequence = ?1";
    /// The oldest item after number 2 that is not reserved.
    OLDEST = "SELECT sequence, lane, bytes FROM queue_items AS item
        WHERE queue = ?1 AND sequence > ?2 AND NOT EXISTS
            (SELECT 1 FROM queue_lanes AS reserved
             WHERE reserved.lane = item.lane AND reserved.token IS NOT NULL AND item.sequence =
                (SELECT head.sequence FROM queue_items AS head
                 WHERE head.lane = item.lane ORDER BY head.sequence LIMIT 1))
        ORDER BY sequence LIMIT 1";
    ANY_ITEM = "SELECT sequence, lane, bytes FROM queue_items WHERE queue = ?1 ORDER BY sequence LIMIT 1";

    ADD_DEAD_LETTER = "INSERT INTO dead_letters (queue, lane, id, at, rejected_at, reason, bytes, body)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    DEAD_LETTERS = "SELECT number, lane, id, at, rejected_at, reason, bytes, body FROM dead_letters
        WHERE queue = ?1 AND number > ?2 ORDER BY number LIMIT ?3";
    /// Never more than a lane may have, and one.
    DEAD_LETTERS_OF_LANE = "SELECT count(*), sum(bytes) FROM dead_letters WHERE queue = ?1 AND lane = ?2";
    OLDEST_DEAD_LETTER_OF_LANE = "SELECT number, bytes FROM dead_letters
        WHERE queue = ?1 AND lane = ?2 ORDER BY number LIMIT 1";
    OLDEST_DEAD_LETTER = "SELECT number, bytes FROM dead_letters WHERE queue = ?1 ORDER BY number LIMIT 1";
    EXPIRED_DEAD_LETTER = "SELECT number, bytes, queue FROM dead_letters WHERE rejected_at < ?1 LIMIT 1";
    REMOVE_DEAD_LETTER = "DELETE FROM dead_letters WHERE number = ?1";
    UNCOUNT_DEAD_LETTER = "UPDATE queues SET parked = parked - 1, parked_bytes = parked_bytes - ?2
        WHERE queue = ?1";
}
