//! The statements of the queues.

/// A caller that adds items keeps the row of the queue from being removed, but does not keep others from counting.
pub(super) const OPEN: &str =
    "SELECT queue, time, items, bytes, dropped, parked, parked_bytes FROM queues
    WHERE name = $1 FOR KEY SHARE";
pub(super) const FIND: &str =
    "SELECT queue, time, items, bytes, dropped, parked, parked_bytes FROM queues
    WHERE name = $1";
pub(super) const ADD: &str = "INSERT INTO queues (name) VALUES ($1)
    ON CONFLICT (name) DO UPDATE SET name = excluded.name
    RETURNING queue, time, items, bytes, dropped, parked, parked_bytes";
/// Locks the row until the end of the transaction: the last that a transaction waits for, except the log of messages.
pub(super) const COUNT: &str =
    "UPDATE queues SET time = greatest(time, $2), items = greatest(items + $3, 0),
        bytes = greatest(bytes + $4, 0), dropped = dropped + $5, parked = greatest(parked + $6, 0),
        parked_bytes = greatest(parked_bytes + $7, 0)
    WHERE queue = $1
    RETURNING queue, time, items, bytes, dropped, parked, parked_bytes";
pub(super) const LOCK: &str =
    "SELECT queue, time, items, bytes, dropped, parked, parked_bytes FROM queues
    WHERE queue = $1 FOR NO KEY UPDATE";
/// Waits for those who are adding items, too.
pub(super) const LOCK_TO_REMOVE: &str =
    "SELECT queue, time, items, bytes, dropped, parked, parked_bytes FROM queues
    WHERE queue = $1 FOR UPDATE";
pub(super) const ADVANCE_TIME: &str = "UPDATE queues SET time = $2 WHERE queue = $1 AND time < $2";
pub(super) const REMOVE: &str = "DELETE FROM queues WHERE queue = $1";
pub(super) const NAMES: &str = "SELECT name FROM queues WHERE starts_with(name, $1) ORDER BY name";

/// Adds those that do not exist, and locks all. The turns of one statement are in the order of `place`.
pub(super) const OPEN_LANES: &str = "
    WITH ready AS MATERIALIZED (SELECT nextval('queue_turns') * 1048576 AS turn)
    INSERT INTO queue_lanes (queue, name, due, turn)
        SELECT $1, lane.name, $2, ready.turn + lane.place
        FROM ready, unnest($3::text[], $4::bigint[]) AS lane (name, place)
        ORDER BY lane.name COLLATE \"C\"
    ON CONFLICT (queue, name) DO UPDATE SET name = excluded.name
    RETURNING lane, name";
/// Those that have been ready for longest, except those that someone else is changing.
pub(super) const READY_LANES: &str = "SELECT lane, name, attempts, failures FROM queue_lanes
    WHERE queue = $1 AND due <= $2 ORDER BY due, turn LIMIT $3 FOR UPDATE SKIP LOCKED";
pub(super) const NEXT_DUE: &str =
    "SELECT due FROM queue_lanes WHERE queue = $1 ORDER BY due, turn LIMIT 1";
pub(super) const RESERVE_LANES: &str =
    "UPDATE queue_lanes SET due = $2, token = reserved.token, attempts = attempts + 1
    FROM unnest($1::bigint[], $3::bigint[]) AS reserved (lane, token) WHERE queue_lanes.lane = reserved.lane";
pub(super) const LOCK_LANES: &str = "SELECT lane, name, token FROM queue_lanes
    WHERE queue = $1 AND lane = ANY($2) ORDER BY name FOR UPDATE";
pub(super) const LOCK_FREE_LANES: &str =
    "SELECT lane FROM queue_lanes WHERE lane = ANY($1) FOR UPDATE SKIP LOCKED";
pub(super) const LOCK_ANY_LANES: &str =
    "SELECT lane FROM queue_lanes WHERE queue = $1 ORDER BY name LIMIT $2 FOR UPDATE";
pub(super) const ANY_LANE: &str = "SELECT lane FROM queue_lanes WHERE queue = $1 LIMIT 1";
/// Ends reservations. With `next`, the first item is another one.
pub(super) const FREE_LANES: &str = "
    WITH ready AS MATERIALIZED (SELECT nextval('queue_turns') * 1048576 AS turn)
    UPDATE queue_lanes SET due = freed.due, turn = ready.turn + freed.place, token = NULL,
        attempts = CASE WHEN freed.next THEN 0 ELSE attempts END,
        failures = CASE WHEN freed.next THEN 0 ELSE failures + freed.counted END
    FROM ready, unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bool[], $5::bigint[])
        AS freed (lane, due, place, next, counted)
    WHERE queue_lanes.lane = freed.lane";
/// Their first item was dropped, unless it is reserved.
pub(super) const RESET_FAILURES: &str =
    "UPDATE queue_lanes SET failures = 0 WHERE lane = ANY($1) AND token IS NULL AND failures <> 0";
/// Those after a name, in their order.
pub(super) const RELEASE_LANES: &str = "
    WITH released AS (
        UPDATE queue_lanes SET due = $2, token = NULL WHERE lane IN
            (SELECT lane FROM queue_lanes WHERE queue = $1 AND ($3::text IS NULL OR name > $3) AND due > $2
             ORDER BY name LIMIT $4 FOR UPDATE)
        RETURNING name)
    SELECT count(*), max(name) FROM released";
pub(super) const REMOVE_EMPTY_LANES: &str =
    "DELETE FROM queue_lanes WHERE lane = ANY($1) AND NOT EXISTS
    (SELECT 1 FROM queue_items WHERE queue_items.lane = queue_lanes.lane)";

pub(super) const ADD_ITEMS: &str =
    "INSERT INTO queue_items (queue, lane, id, at, since, bytes, body)
        SELECT $1, item.lane, item.id, item.at, $2, item.bytes, item.body
        FROM unnest($3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bytea[]) WITH ORDINALITY
            AS item (lane, id, at, bytes, body, place)
        ORDER BY item.place";
/// The first item of each lane.
pub(super) const HEADS: &str =
    "SELECT head.lane, head.sequence, head.bytes FROM unnest($1::bigint[]) AS lanes (lane)
    CROSS JOIN LATERAL (SELECT lane, sequence, bytes FROM queue_items WHERE queue_items.lane = lanes.lane
        ORDER BY sequence LIMIT 1) AS head";
pub(super) const ITEMS: &str =
    "SELECT lane, id, at, since, body FROM queue_items WHERE sequence = ANY($1)";
pub(super) const REMOVE_ITEMS: &str = "DELETE FROM queue_items WHERE sequence = ANY($1)";
pub(super) const OLDEST: &str =
    "SELECT sequence, lane FROM queue_items WHERE queue = $1 AND sequence > $2
    ORDER BY sequence LIMIT $3";
/// Items of these lanes in a range that are not reserved.
pub(super) const DROPPABLE: &str = "SELECT sequence, lane, bytes FROM queue_items AS item
    WHERE queue = $1 AND sequence > $2 AND sequence <= $3 AND lane = ANY($4) AND NOT EXISTS
        (SELECT 1 FROM queue_lanes AS reserved
         WHERE reserved.lane = item.lane AND reserved.token IS NOT NULL AND item.sequence =
            (SELECT head.sequence FROM queue_items AS head
             WHERE head.lane = item.lane ORDER BY head.sequence LIMIT 1))
    ORDER BY sequence";
pub(super) const CLEAR_LANES: &str = "DELETE FROM queue_items WHERE sequence IN
    (SELECT sequence FROM queue_items WHERE lane = ANY($1) LIMIT $2) RETURNING bytes";

pub(super) const ADD_DEAD_LETTERS: &str =
    "INSERT INTO dead_letters (queue, lane, id, at, rejected_at, reason, bytes, body)
        SELECT item.queue, parked.lane, item.id, item.at, parked.at, parked.reason, item.bytes, item.body
        FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[]) WITH ORDINALITY
            AS parked (sequence, lane, at, reason, place)
        JOIN queue_items AS item ON item.sequence = parked.sequence
        ORDER BY parked.place";
/// Those of these lanes that exceed a number or a sum of bytes.
pub(super) const BOUND_DEAD_LETTERS: &str = "DELETE FROM dead_letters WHERE number IN
    (SELECT number FROM
        (SELECT number, row_number() OVER newest AS place, sum(bytes) OVER newest AS total
         FROM dead_letters WHERE queue = $1 AND lane = ANY($2)
         WINDOW newest AS (PARTITION BY lane ORDER BY number DESC)) AS letters
     WHERE place > 1 AND (place > $3::bigint OR total > $4::bigint))
    RETURNING bytes";
pub(super) const OLDEST_DEAD_LETTERS: &str =
    "SELECT number, bytes FROM dead_letters WHERE queue = $1 ORDER BY number LIMIT $2";
pub(super) const REMOVE_DEAD_LETTERS: &str = "DELETE FROM dead_letters WHERE number = ANY($1)";
/// A page that ends after a sum of bytes.
pub(super) const DEAD_LETTERS: &str =
    "SELECT number, lane, id, at, rejected_at, reason, body FROM
        (SELECT *, sum(bytes) OVER (ORDER BY number) - bytes AS before FROM
            (SELECT * FROM dead_letters WHERE queue = $1 AND number > $2 ORDER BY number LIMIT $3) AS page) AS sized
    WHERE before < $4::bigint ORDER BY number";
pub(super) const EXPIRING_QUEUES: &str = "SELECT DISTINCT queue FROM
    (SELECT queue FROM dead_letters WHERE rejected_at < $1 LIMIT $2) AS expired ORDER BY queue";
pub(super) const LOCK_QUEUES: &str =
    "SELECT queue FROM queues WHERE queue = ANY($1) ORDER BY queue FOR NO KEY UPDATE";
pub(super) const EXPIRE_DEAD_LETTERS: &str = "
    WITH expired AS (
        DELETE FROM dead_letters WHERE number IN
            (SELECT number FROM dead_letters WHERE rejected_at < $1 AND queue = ANY($2) LIMIT $3)
        RETURNING queue, bytes),
    sums AS (SELECT queue, count(*) AS letters, sum(bytes)::bigint AS bytes FROM expired GROUP BY queue),
    counted AS (
        UPDATE queues SET parked = greatest(parked - sums.letters, 0),
            parked_bytes = greatest(queues.parked_bytes - sums.bytes, 0)
        FROM sums WHERE queues.queue = sums.queue)
    SELECT count(*) FROM expired";
