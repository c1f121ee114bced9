-- The row of a device in `down_devices` is locked by whoever changes anything of its messages; it stays as long as the
-- device has streams, messages or keys. A message has its number in the stream while it waits. `state` is a
-- `DownState`, see `down_state`. `held` is set once a message that was handed out was found to be due, so that it is
-- not found again. `down_voids` has the numbers whose message was given up, as ranges. `down_size` is locked last.
CREATE TABLE down_devices (
    device TEXT COLLATE "C" PRIMARY KEY,
    waiting BIGINT NOT NULL DEFAULT 0,
    bytes BIGINT NOT NULL DEFAULT 0,
    settled BIGINT NOT NULL DEFAULT 0,
    keys BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE down_size (
    id BIGINT PRIMARY KEY CHECK (id = 0),
    bytes BIGINT NOT NULL
);
INSERT INTO down_size VALUES (0, 0);
CREATE TABLE down_streams (
    device TEXT COLLATE "C" NOT NULL,
    lane BIGINT NOT NULL,
    stream BYTEA NOT NULL,
    newest BIGINT NOT NULL,
    acknowledged BIGINT NOT NULL,
    tag BIGINT NOT NULL,
    tried BIGINT NOT NULL,
    PRIMARY KEY (device, lane)
);
CREATE TABLE down_voids (
    device TEXT COLLATE "C" NOT NULL,
    lane BIGINT NOT NULL,
    last BIGINT NOT NULL,
    first BIGINT NOT NULL,
    reason BIGINT NOT NULL,
    PRIMARY KEY (device, lane, last)
);
CREATE TABLE down_messages (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device TEXT COLLATE "C" NOT NULL,
    tag BIGINT NOT NULL,
    lane BIGINT NOT NULL,
    sequence BIGINT,
    state BIGINT NOT NULL DEFAULT 0,
    redelivered BOOLEAN NOT NULL DEFAULT FALSE,
    held BOOLEAN NOT NULL DEFAULT FALSE,
    at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    collapse_key BYTEA,
    raw BOOLEAN NOT NULL,
    bytes BIGINT NOT NULL,
    body BYTEA
);
CREATE UNIQUE INDEX down_messages_by_tag ON down_messages (device, tag);
CREATE INDEX down_messages_by_device ON down_messages (device, number);
CREATE UNIQUE INDEX down_messages_by_sequence ON down_messages (device, lane, sequence) WHERE sequence IS NOT NULL;
CREATE INDEX down_messages_by_key ON down_messages (device, collapse_key)
    WHERE sequence IS NOT NULL AND collapse_key IS NOT NULL;
CREATE INDEX down_messages_by_expiry ON down_messages (expires_at) WHERE sequence IS NOT NULL AND NOT held;
CREATE INDEX down_messages_settled ON down_messages (changed_at) WHERE sequence IS NULL;
CREATE INDEX down_messages_settled_of_device ON down_messages (device, changed_at, number) WHERE sequence IS NULL;
CREATE TABLE down_keys (
    device TEXT COLLATE "C" NOT NULL,
    key BYTEA NOT NULL,
    digest BYTEA NOT NULL,
    tag BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (device, key)
);
CREATE INDEX down_keys_of_device ON down_keys (device, at);
CREATE INDEX down_keys_by_time ON down_keys (at);
