//! The keys that the environment can set, and the names of their variables. Lists of tables, such as
//! `[[webhook]]`, can only be in the file.

/// The type of a key's value.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    /// Texts, separated by commas in the environment.
    List,
}

/// Every key that the environment can set; see [`variable_of`].
pub(super) const KEYS: &[(&str, Kind)] = &[
    ("listen", Kind::List),
    ("trusted_proxies", Kind::List),
    ("path", Kind::Text),
    ("data_dir", Kind::Text),
    ("store", Kind::Text),
    ("store_password_file", Kind::Text),
    ("secret", Kind::Text),
    ("secret_file", Kind::Text),
    ("salt", Kind::Text),
    ("salt_file", Kind::Text),
    ("tls.certificate", Kind::Text),
    ("tls.key", Kind::Text),
    ("tls.self_signed", Kind::Flag),
    ("tokens.lifetime", Kind::Text),
    ("tokens.refresh", Kind::Text),
    ("registration.may_reregister", Kind::Flag),
    ("sessions.heartbeat", Kind::Text),
    ("sessions.idle_timeout", Kind::Text),
    ("sessions.token_grace", Kind::Text),
    ("sessions.max_frame", Kind::Number),
    ("sessions.max_decoded", Kind::Number),
    ("sessions.max_decoded_by_device", Kind::Number),
    ("sessions.max_header", Kind::Number),
    ("sessions.messages_per_second", Kind::Number),
    ("sessions.message_burst", Kind::Number),
    ("sessions.bytes_per_second", Kind::Number),
    ("sessions.byte_burst", Kind::Number),
    ("sessions.queue_messages", Kind::Number),
    ("sessions.queue_bytes", Kind::Number),
    ("sessions.received_bytes", Kind::Number),
    ("sessions.queued_bytes", Kind::Number),
    ("limits.connections", Kind::Number),
    ("limits.connections_per_address", Kind::Number),
    ("limits.accepts_per_second", Kind::Number),
    ("limits.accept_burst", Kind::Number),
    ("limits.handshake", Kind::Text),
    ("limits.http_idle", Kind::Text),
    ("limits.request_body", Kind::Text),
    ("limits.failed_logins_per_address", Kind::Number),
    ("limits.failed_logins_per_account", Kind::Number),
    ("limits.request_head", Kind::Number),
    ("limits.request_bytes", Kind::Number),
    ("limits.request_bytes_per_token", Kind::Number),
    ("limits.request_bytes_per_address", Kind::Number),
    ("drain.spread", Kind::Text),
    ("drain.deadline", Kind::Text),
    ("events.keep", Kind::Number),
    ("events.keep_bytes", Kind::Number),
    ("events.streams", Kind::Number),
    ("events.streams_per_token", Kind::Number),
    ("cluster.nats", Kind::List),
    ("cluster.nats_user", Kind::Text),
    ("cluster.nats_password_file", Kind::Text),
    ("cluster.nats_credentials_file", Kind::Text),
    ("cluster.nats_ca_file", Kind::Text),
    ("cluster.prefix", Kind::Text),
    ("cluster.name", Kind::Text),
    ("audit.keep", Kind::Number),
    ("audit.keep_for", Kind::Text),
    ("audit.logins_keep", Kind::Number),
    ("audit.logins_keep_for", Kind::Text),
    ("audit.refusals_keep", Kind::Number),
    ("audit.refusals_keep_for", Kind::Text),
    ("audit.messages_keep", Kind::Number),
    ("audit.messages_keep_for", Kind::Text),
    ("log.level", Kind::Text),
    ("log.format", Kind::Text),
    ("log.queue_bytes", Kind::Number),
    ("log.lines_per_second", Kind::Number),
    ("log.line_burst", Kind::Number),
];

/// `key` for people: without the index of the table that it is in.
pub(super) fn shown(key: &str) -> String {
    match key.split_once('[').zip(key.split_once(']')) {
        Some(((before, _), (_, after))) => format!("{before}{after}"),
        None => key.to_owned(),
    }
}

/// The environment variable that sets `key`: `FEDECKS_` and the key in capitals, with `_` for the dot.
pub(super) fn variable_of(key: &str) -> String {
    format!("FEDECKS_{}", key.replace('.', "_").to_ascii_uppercase())
}
