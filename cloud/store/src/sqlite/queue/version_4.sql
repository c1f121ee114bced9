-- A store of version 4 with an outbox, as that version wrote it; its long texts are written as functions.
CREATE TABLE accounts (
        name TEXT PRIMARY KEY,
        password_hash TEXT NOT NULL,
        created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE devices (
        id TEXT PRIMARY KEY,
        first_seen INTEGER,
        last_seen INTEGER,
        generation INTEGER NOT NULL DEFAULT 0,
        change INTEGER
    , label TEXT, blocked_at INTEGER, forgotten INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX devices_by_change ON devices (change) WHERE change IS NOT NULL;
CREATE INDEX devices_blocked ON devices (id) WHERE blocked_at IS NOT NULL;
CREATE TABLE api_tokens (
        name TEXT PRIMARY KEY,
        hash BLOB NOT NULL UNIQUE,
        roles TEXT NOT NULL,
        devices TEXT,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        last_used INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE outbox (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        webhook TEXT NOT NULL,
        lane TEXT NOT NULL,
        event TEXT NOT NULL,
        body TEXT NOT NULL,
        at INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_by_webhook ON outbox (webhook, sequence);
CREATE TABLE audit (
        sequence INTEGER PRIMARY KEY,
        class INTEGER NOT NULL,
        number INTEGER NOT NULL,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        address TEXT,
        action TEXT NOT NULL,
        device TEXT,
        detail TEXT
) STRICT;
CREATE INDEX audit_by_class ON audit (class, sequence);
CREATE INDEX audit_by_device ON audit (device, sequence) WHERE device IS NOT NULL;
CREATE INDEX audit_by_actor ON audit (actor, sequence);
CREATE TABLE known_logins (
        account TEXT NOT NULL,
        network TEXT NOT NULL,
        last_used INTEGER NOT NULL,
        PRIMARY KEY (account, network)
) STRICT, WITHOUT ROWID;
CREATE INDEX known_logins_by_use ON known_logins (last_used);
INSERT INTO outbox VALUES (1, 'crm', 'kitchen-1', '5c1f0d9be0a2c5aa-1', replace(hex(zeroblob(95)), '00', 'x'), 1769860800);
INSERT INTO outbox VALUES (2, 'crm', 'kitchen-1', '5c1f0d9be0a2c5aa-2', replace(hex(zeroblob(102)), '00', 'x'), 1769860801);
INSERT INTO outbox VALUES (3, 'other', 'kitchen-1', '5c1f0d9be0a2c5aa-3', '{"name":"€ 😀"}', 1769860802);
INSERT INTO outbox VALUES (4, 'crm', '', '5c1f0d9be0a2c5aa-4', replace(hex(zeroblob(97)), '00', 'x'), 1769860803);
INSERT INTO outbox VALUES (9, 'crm', 'hall-1', '5c1f0d9be0a2c5aa-9', replace(hex(zeroblob(5000)), '00', 'x'), 1769860810);
INSERT INTO outbox VALUES (10, 'crm', 'hall-1', '5c1f0d9be0a2c5aa-10', 'xxx', 1769860811);
INSERT INTO outbox VALUES (12, 'crm', 'kitchen-1', '5c1f0d9be0a2c5aa-12', 'xxxxxx', 1769860812);
INSERT INTO sqlite_sequence VALUES ('outbox', 12);
PRAGMA application_id = 1717857139;
PRAGMA user_version = 4;
PRAGMA journal_mode = WAL;
