//! What is moved: the tables of the database, and what they get of the file.

/// How a value is kept in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    SmallNumber,
    Truth,
    Text,
    /// A text in lower case, as this library makes it.
    LowerText,
    Bytes,
}

use Kind::{Bytes, LowerText, Number, SmallNumber, Text, Truth};

/// A table of the database.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// What its rows are, for people.
    pub(super) rows: &'static str,
    /// What it is made from: a table of the file, or a query in it.
    pub(super) from: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    /// In both, so that the rows have one order.
    pub(super) order: &'static str,
    /// The column that numbers the rows, if the database does that.
    pub(super) numbered: Option<&'static str>,
}

impl Table {
    fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// Reads it from the file.
    pub(super) fn select(&self) -> String {
        let Self { from, order, .. } = self;
        format!("SELECT {} FROM {from} ORDER BY {order}", self.names())
    }

    /// Writes it to the database.
    pub(super) fn copy_in(&self) -> String {
        format!("COPY {} ({}) FROM STDIN (FORMAT binary)", self.name, self.names())
    }

    /// Reads it from the database.
    pub(super) fn copy_out(&self) -> String {
        let (columns, Self { name, order, .. }) = (self.names(), self);
        format!("COPY (SELECT {columns} FROM {name} ORDER BY {order}) TO STDOUT (FORMAT binary)")
    }
}

/// A table that is the same in both.
const fn same(
    name: &'static str,
    rows: &'static str,
    order: &'static str,
    columns: &'static [(&'static str, Kind)],
) -> Table {
    Table { name, rows, from: name, columns, order, numbered: None }
}

/// The same, with rows that the database numbers.
const fn numbered(
    name: &'static str,
    rows: &'static str,
    number: &'static str,
    columns: &'static [(&'static str, Kind)],
) -> Table {
    Table { name, rows, from: name, columns, order: number, numbered: Some(number) }
}

/// One with another source.
const fn from(source: &'static str, table: Table) -> Table {
    Table { from: source, ..table }
}

/// A device has a row as soon as it has a stream.
const DOWN_DEVICES: &str =
    "(SELECT device, ifnull(waiting, 0) AS waiting, ifnull(bytes, 0) AS bytes,
        ifnull(settled, 0) AS settled, ifnull(keys, 0) AS keys
    FROM (SELECT device FROM down_devices UNION SELECT device FROM down_streams)
    LEFT JOIN down_devices USING (device))";

/// The numbers of the log only rise.
const LOG_STATE: &str =
    "(SELECT 0 AS id, ifnull((SELECT min(number) FROM message_log), last + 1) AS oldest,
        last AS newest, bytes
    FROM (SELECT ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'message_log'), 0) AS last,
        (SELECT bytes FROM message_log_size WHERE id = 0) AS bytes))";

/// All of them. Those that a new database has rows of are emptied first.
pub(super) const TABLES: &[Table] = &[
    same("installation", "installation", "id", &[("id", Bytes)]),
    same(
        "accounts",
        "accounts",
        "name",
        &[("name", Text), ("password_hash", Text), ("created_at", Number)],
    ),
    same(
        "known_logins",
        "known logins",
        "account, network",
        &[("account", Text), ("network", Text), ("last_used", Number)],
    ),
    same(
        "api_tokens",
        "API tokens",
        "name",
        &[
            ("name", Text),
            ("hash", Bytes),
            ("roles", Text),
            ("devices", Text),
            ("created_at", Number),
            ("expires_at", Number),
            ("last_used", Number),
        ],
    ),
    from(
        "(SELECT *, label AS label_lower FROM devices)",
        same(
            "devices",
            "devices",
            "id",
            &[
                ("id", Text),
                ("label", Text),
                ("label_lower", LowerText),
                ("first_seen", Number),
                ("last_seen", Number),
                ("generation", Number),
                ("change", Number),
                ("blocked_at", Number),
                ("forgotten", Truth),
                ("registered_by", Text),
                ("registered_at", Number),
                ("registered_from", Text),
                ("nonce", Bytes),
                ("came_by_token", Truth),
                ("returned_at", Number),
                ("reregistration_until", Number),
                ("certificate_key", Bytes),
                ("certificate_refused", Truth),
            ],
        ),
    ),
    from(
        "(SELECT ifnull(max(change), 0) AS newest FROM devices)",
        same("access_changes", "changes of access", "newest", &[("newest", Number)]),
    ),
    numbered(
        "claims",
        "claims",
        "number",
        &[
            ("number", Number),
            ("id", Number),
            ("hash", Bytes),
            ("devices", Text),
            ("uses", Number),
            ("used", Number),
            ("returns", Number),
            ("returned", Number),
            ("expires_at", Number),
            ("revoked_at", Number),
            ("label", Text),
            ("approval", Truth),
            ("note", Text),
            ("created_at", Number),
            ("created_by", Text),
            ("ends_at", Number),
        ],
    ),
    numbered(
        "claim_uses",
        "uses of claims",
        "number",
        &[
            ("number", Number),
            ("claim", Number),
            ("device", Text),
            ("at", Number),
            ("address", Text),
            ("returned", Truth),
        ],
    ),
    same(
        "approvals",
        "approvals",
        "device",
        &[
            ("device", Text),
            ("claim", Number),
            ("nonce", Bytes),
            ("state", SmallNumber),
            ("since", Number),
            ("asked_at", Number),
            ("address", Text),
        ],
    ),
    same(
        "audit",
        "lines of the audit log",
        "sequence",
        &[
            ("sequence", Number),
            ("class", SmallNumber),
            ("number", Number),
            ("at", Number),
            ("actor", Text),
            ("address", Text),
            ("action", Text),
            ("device", Text),
            ("detail", Text),
        ],
    ),
    same(
        "message_log",
        "messages in the log",
        "number",
        &[
            ("number", Number),
            ("device", Text),
            ("lane", Number),
            ("tag", Number),
            ("redelivered", Truth),
            ("sent_at_ms", Number),
            ("at", Number),
            ("raw", Truth),
            ("bytes", Number),
            ("body", Bytes),
        ],
    ),
    from(
        LOG_STATE,
        same(
            "message_log_state",
            "state of the log",
            "id",
            &[("id", Number), ("oldest", Number), ("newest", Number), ("bytes", Number)],
        ),
    ),
    same(
        "message_consumers",
        "consumers",
        "name",
        &[
            ("name", Text),
            ("asked", Text),
            ("scope", Text),
            ("place", Number),
            ("pending", Number),
            ("missed", Number),
            ("used_at", Number),
        ],
    ),
    same("up_devices", "devices with streams", "device", &[("device", Text), ("fence", Number)]),
    same(
        "up_streams",
        "streams of devices",
        "device, stream",
        &[
            ("device", Text),
            ("stream", Bytes),
            ("lane", Number),
            ("up_to", Number),
            ("tag", Number),
            ("used", Number),
        ],
    ),
    from(
        DOWN_DEVICES,
        same(
            "down_devices",
            "queues for devices",
            "device",
            &[
                ("device", Text),
                ("waiting", Number),
                ("bytes", Number),
                ("settled", Number),
                ("keys", Number),
            ],
        ),
    ),
    same("down_size", "size of all queues for devices", "id", &[("id", Number), ("bytes", Number)]),
    same(
        "down_streams",
        "streams to devices",
        "device, lane",
        &[
            ("device", Text),
            ("lane", Number),
            ("stream", Bytes),
            ("newest", Number),
            ("acknowledged", Number),
            ("tag", Number),
            ("tried", Number),
        ],
    ),
    same(
        "down_voids",
        "gaps in streams to devices",
        "device, lane, last",
        &[
            ("device", Text),
            ("lane", Number),
            ("last", Number),
            ("first", Number),
            ("reason", Number),
        ],
    ),
    numbered(
        "down_messages",
        "messages for devices",
        "number",
        &[
            ("number", Number),
            ("device", Text),
            ("tag", Number),
            ("lane", Number),
            ("sequence", Number),
            ("state", Number),
            ("redelivered", Truth),
            ("held", Truth),
            ("at", Number),
            ("changed_at", Number),
            ("expires_at", Number),
            ("collapse_key", Bytes),
            ("raw", Truth),
            ("bytes", Number),
            ("body", Bytes),
        ],
    ),
    same(
        "down_keys",
        "idempotency keys",
        "device, key",
        &[("device", Text), ("key", Bytes), ("digest", Bytes), ("tag", Number), ("at", Number)],
    ),
    numbered(
        "queues",
        "queues of webhooks",
        "queue",
        &[
            ("queue", Number),
            ("name", Text),
            ("time", Number),
            ("items", Number),
            ("bytes", Number),
            ("dropped", Number),
            ("parked", Number),
            ("parked_bytes", Number),
        ],
    ),
    numbered(
        "queue_lanes",
        "lanes of webhooks",
        "lane",
        &[
            ("lane", Number),
            ("queue", Number),
            ("name", Text),
            ("due", Number),
            ("turn", Number),
            ("token", Number),
            ("attempts", Number),
            ("failures", Number),
        ],
    ),
    numbered(
        "queue_items",
        "events for webhooks",
        "sequence",
        &[
            ("sequence", Number),
            ("queue", Number),
            ("lane", Number),
            ("id", Text),
            ("at", Number),
            ("since", Number),
            ("bytes", Number),
            ("body", Bytes),
        ],
    ),
    numbered(
        "dead_letters",
        "dead letters",
        "number",
        &[
            ("number", Number),
            ("queue", Number),
            ("lane", Text),
            ("id", Text),
            ("at", Number),
            ("rejected_at", Number),
            ("reason", Text),
            ("bytes", Number),
            ("body", Bytes),
        ],
    ),
];

/// What the database keeps besides: its counters, made from what was moved.
pub(super) const DERIVED: &str = "
    UPDATE audit_lines SET newest = (SELECT coalesce(max(sequence), 0) FROM audit),
        of_class = (SELECT array_agg(coalesce(last.number, 0) ORDER BY class.class)
            FROM generate_series(1, array_length(audit_lines.of_class, 1)) AS class (class)
            LEFT JOIN (SELECT class, max(number) AS number FROM audit GROUP BY class) AS last USING (class));
    SELECT setval('queue_turns', coalesce(max(turn) / 1048576, 0) + 1) FROM queue_lanes;
    ANALYZE";

/// Whether the list of devices, which a trigger makes, has as many rows as it must.
pub(super) const LISTED: &str = "SELECT (SELECT count(*) FROM devices_listed)
    - (SELECT count(*) FROM devices WHERE NOT forgotten)";

/// Tables of the database that get nothing from the file.
#[cfg(test)]
pub(super) const NOT_MOVED: &[&str] =
    &["audit_lines", "devices_listed", "fedecks_schema", "flushes", "nodes"];
