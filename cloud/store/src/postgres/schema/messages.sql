-- `tag` has the bits of an unsigned integer. `used` orders the streams of a device by their last use. The row of a
-- device in `up_devices` is locked by whoever moves its streams. The row of `message_log_state` is locked from the
-- moment a number of the log is taken until it is committed, so that a reader who has read up to one misses none;
-- `newest` is the last number, `oldest` the first that may still be there.
CREATE TABLE installation (id BYTEA NOT NULL);
INSERT INTO installation VALUES (uuid_send(gen_random_uuid()));
CREATE TABLE up_devices (
    device TEXT COLLATE "C" PRIMARY KEY,
    fence BIGINT NOT NULL
);
CREATE TABLE up_streams (
    device TEXT COLLATE "C" NOT NULL,
    stream BYTEA NOT NULL,
    lane BIGINT NOT NULL,
    up_to BIGINT NOT NULL,
    tag BIGINT NOT NULL,
    used BIGINT NOT NULL,
    PRIMARY KEY (device, stream)
);
CREATE TABLE message_log (
    number BIGINT PRIMARY KEY,
    device TEXT COLLATE "C" NOT NULL,
    lane BIGINT NOT NULL,
    tag BIGINT NOT NULL,
    redelivered BOOLEAN NOT NULL,
    sent_at_ms BIGINT,
    at BIGINT NOT NULL,
    raw BOOLEAN NOT NULL,
    bytes BIGINT NOT NULL,
    body BYTEA NOT NULL
);
CREATE TABLE message_log_state (
    id BIGINT PRIMARY KEY CHECK (id = 0),
    oldest BIGINT NOT NULL,
    newest BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);
INSERT INTO message_log_state VALUES (0, 1, 0, 0);
-- `pending` is what a consumer missed and has not acknowledged yet, `missed` what it missed before.
CREATE TABLE message_consumers (
    name TEXT COLLATE "C" PRIMARY KEY,
    asked TEXT,
    scope TEXT,
    place BIGINT NOT NULL,
    pending BIGINT NOT NULL,
    missed BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);
