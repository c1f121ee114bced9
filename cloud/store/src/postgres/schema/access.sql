-- Who has access: accounts, devices, API tokens, claims and registrations, and the audit log.
--
-- Texts that are ordered or looked up have the collation "C", so that all servers order them alike, by their bytes.

-- One row each, which is locked last in a transaction, until it commits: so the numbers are committed in order, and a
-- reader who has read up to one misses none. All such changes wait for each other here.
-- `access_changes` numbers the changes of access of all devices; a device has the number of its latest. In
-- `audit_lines`, `sequence` numbers all lines, and the element of a class its own.
CREATE TABLE access_changes (newest bigint NOT NULL);
INSERT INTO access_changes VALUES (0);
CREATE TABLE audit_lines (newest bigint NOT NULL, of_class bigint[] NOT NULL);
INSERT INTO audit_lines VALUES (0, array_fill(0::bigint, ARRAY[32]));

CREATE TABLE audit (
    sequence bigint PRIMARY KEY,
    class smallint NOT NULL,
    number bigint NOT NULL,
    at bigint NOT NULL,
    actor text COLLATE "C" NOT NULL,
    address text,
    action text NOT NULL,
    device text COLLATE "C",
    detail text
);
CREATE INDEX audit_by_class ON audit (class, sequence);
CREATE INDEX audit_by_number ON audit (class, number);
CREATE INDEX audit_by_device ON audit (device, sequence) WHERE device IS NOT NULL;
CREATE INDEX audit_by_actor ON audit (actor, sequence);

-- The newest batch of notes of each running store that it has written, if it had lines for `audit`: so that it writes
-- none twice. `at` is when, in seconds.
CREATE TABLE flushes (
    store bytea PRIMARY KEY,
    newest bigint NOT NULL,
    at bigint NOT NULL
);

CREATE TABLE accounts (
    name text COLLATE "C" PRIMARY KEY,
    password_hash text NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE known_logins (
    account text COLLATE "C" NOT NULL,
    network text COLLATE "C" NOT NULL,
    last_used bigint NOT NULL,
    PRIMARY KEY (account, network)
);
CREATE INDEX known_logins_by_use ON known_logins (last_used);

CREATE TABLE api_tokens (
    name text COLLATE "C" PRIMARY KEY,
    hash bytea NOT NULL UNIQUE,
    roles text NOT NULL,
    devices text,
    created_at bigint NOT NULL,
    expires_at bigint,
    last_used bigint
);

-- A forgotten device keeps its row, for its generation. `came_by_token` is set once the device has stored its token;
-- then its nonce is useless. `label_lower` is the label in lower case, as this library makes it: the database's idea of
-- that depends on its locale. What connections change often has no index, and pages have room for a second version of
-- some rows, so that noting a connection changes no index.
CREATE TABLE devices (
    id text COLLATE "C" PRIMARY KEY,
    label text,
    label_lower text COLLATE "C",
    first_seen bigint,
    last_seen bigint,
    generation bigint NOT NULL DEFAULT 0,
    change bigint,
    blocked_at bigint,
    forgotten boolean NOT NULL DEFAULT false,
    registered_by text COLLATE "C",
    registered_at bigint,
    registered_from text,
    nonce bytea,
    came_by_token boolean NOT NULL DEFAULT false,
    returned_at bigint,
    reregistration_until bigint,
    certificate_key bytea,
    certificate_refused boolean NOT NULL DEFAULT false
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX devices_by_change ON devices (change) WHERE change IS NOT NULL;
CREATE INDEX devices_by_registration ON devices (registered_by, id) WHERE registered_by IS NOT NULL;

-- What lists and counts of all known devices look at. It is apart from `devices`, whose pages change all the time: an
-- index alone answers for rows whose pages have not changed since they were vacuumed, which is soon after they were
-- written. `searched` is the id and the label, both in lower case. What is longer than any label has no room in an index.
CREATE TABLE devices_listed (
    id text COLLATE "C",
    searched text COLLATE "C" NOT NULL,
    blocked boolean NOT NULL,
    PRIMARY KEY (id) INCLUDE (searched, blocked)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02);
CREATE INDEX devices_listed_blocked ON devices_listed (id) INCLUDE (searched) WHERE blocked;
CREATE FUNCTION list_device() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.forgotten THEN
        DELETE FROM devices_listed WHERE id = NEW.id;
    ELSE
        INSERT INTO devices_listed (id, searched, blocked)
        VALUES (NEW.id, concat_ws(E'\x1f', lower(NEW.id), left(NEW.label_lower, 512)), NEW.blocked_at IS NOT NULL)
        ON CONFLICT (id) DO UPDATE SET searched = excluded.searched, blocked = excluded.blocked;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER device_added AFTER INSERT ON devices FOR EACH ROW EXECUTE FUNCTION list_device();
CREATE TRIGGER device_changed AFTER UPDATE ON devices FOR EACH ROW
    WHEN (OLD.forgotten <> NEW.forgotten OR OLD.label_lower IS DISTINCT FROM NEW.label_lower
        OR (OLD.blocked_at IS NULL) <> (NEW.blocked_at IS NULL))
    EXECUTE FUNCTION list_device();

-- `ends_at` is when a claim has or will have become useless, as far as is known.
CREATE TABLE claims (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id bigint NOT NULL UNIQUE,
    hash bytea NOT NULL UNIQUE,
    devices text NOT NULL,
    uses bigint NOT NULL,
    used bigint NOT NULL DEFAULT 0,
    returns bigint NOT NULL,
    returned bigint NOT NULL DEFAULT 0,
    expires_at bigint,
    revoked_at bigint,
    label text,
    approval boolean NOT NULL,
    note text,
    created_at bigint NOT NULL,
    created_by text NOT NULL,
    ends_at bigint
);
CREATE INDEX claims_by_end ON claims (ends_at) WHERE ends_at IS NOT NULL;
CREATE TABLE claim_uses (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    claim bigint NOT NULL,
    device text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    address text,
    returned boolean NOT NULL
);
CREATE INDEX claim_uses_by_claim ON claim_uses (claim, number);
CREATE TABLE approvals (
    device text COLLATE "C" PRIMARY KEY,
    claim bigint NOT NULL,
    nonce bytea,
    state smallint NOT NULL,
    since bigint NOT NULL,
    asked_at bigint NOT NULL,
    address text
);
CREATE INDEX approvals_by_time ON approvals (asked_at);
