-- A lane has a row while it has items; `due` is when its first item may be taken, whether it is ready, waits for its
-- next attempt, or is reserved, and then `token` is not null. Times on the clock of a queue are in milliseconds, `at`
-- in seconds since 1970. `turn` is the order in which lanes became ready. The counters of a queue save counting its
-- rows. Whoever changes a lane or its items holds the lock of its row, and takes that of its queue last.
CREATE SEQUENCE queue_turns;
CREATE TABLE queues (
    queue BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    time BIGINT NOT NULL DEFAULT 0,
    items BIGINT NOT NULL DEFAULT 0,
    bytes BIGINT NOT NULL DEFAULT 0,
    dropped BIGINT NOT NULL DEFAULT 0,
    parked BIGINT NOT NULL DEFAULT 0,
    parked_bytes BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE queue_lanes (
    lane BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    due BIGINT NOT NULL,
    turn BIGINT NOT NULL,
    token BIGINT,
    attempts BIGINT NOT NULL DEFAULT 0,
    failures BIGINT NOT NULL DEFAULT 0,
    UNIQUE (queue, name)
);
CREATE INDEX queue_lanes_by_due ON queue_lanes (queue, due, turn);
CREATE TABLE queue_items (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue BIGINT NOT NULL,
    lane BIGINT NOT NULL,
    id TEXT NOT NULL,
    at BIGINT NOT NULL,
    since BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    body BYTEA NOT NULL
);
CREATE INDEX queue_items_by_queue ON queue_items (queue, sequence);
CREATE INDEX queue_items_by_lane ON queue_items (lane, sequence);
CREATE TABLE dead_letters (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue BIGINT NOT NULL,
    lane TEXT COLLATE "C" NOT NULL,
    id TEXT NOT NULL,
    at BIGINT NOT NULL,
    rejected_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    body BYTEA NOT NULL
);
CREATE INDEX dead_letters_by_queue ON dead_letters (queue, number);
CREATE INDEX dead_letters_by_lane ON dead_letters (queue, lane, number);
CREATE INDEX dead_letters_by_time ON dead_letters (rejected_at);
