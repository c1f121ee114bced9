use std::collections::BTreeSet;
use std::ffi::OsString;

use serde::Deserialize;
use toml::{Table, Value};

use super::error::ConfigError;
use super::raw::Raw;

/// What a key's value is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    /// Texts, with commas between them in the environment.
    List,
}

/// Every key that the environment can set. The variable is `FEDECKS_` and the key in capitals with
/// `_` for the dot.
pub(super) const KEYS: &[(&str, Kind)] = &[
    ("listen", Kind::List),
    ("trusted_proxies", Kind::List),
    ("path", Kind::Text),
    ("data_dir", Kind::Text),
    ("store", Kind::Text),
    ("secret", Kind::Text),
    ("secret_file", Kind::Text),
    ("salt", Kind::Text),
    ("salt_file", Kind::Text),
    ("tls.certificate", Kind::Text),
    ("tls.key", Kind::Text),
    ("tls.self_signed", Kind::Flag),
    ("tokens.lifetime", Kind::Text),
    ("tokens.refresh", Kind::Text),
    ("sessions.heartbeat", Kind::Text),
    ("sessions.idle_timeout", Kind::Text),
    ("sessions.max_frame", Kind::Number),
    ("sessions.max_header", Kind::Number),
    ("sessions.messages_per_second", Kind::Number),
    ("sessions.message_burst", Kind::Number),
    ("limits.connections", Kind::Number),
    ("limits.connections_per_address", Kind::Number),
    ("limits.accepts_per_second", Kind::Number),
    ("limits.accept_burst", Kind::Number),
    ("limits.handshake", Kind::Text),
    ("limits.request_body", Kind::Text),
    ("limits.failed_logins_per_address", Kind::Number),
    ("limits.failed_logins_per_account", Kind::Number),
    ("limits.request_head", Kind::Number),
    ("drain.spread", Kind::Text),
    ("drain.deadline", Kind::Text),
    ("events.keep", Kind::Number),
    ("events.keep_bytes", Kind::Number),
    ("events.streams", Kind::Number),
    ("audit.keep", Kind::Number),
    ("log.level", Kind::Text),
    ("log.format", Kind::Text),
];

/// A secret is set once: in one form it takes the place of the other.
const INSTEAD: &[(&str, &str)] = &[
    ("secret", "secret_file"),
    ("secret_file", "secret"),
    ("salt", "salt_file"),
    ("salt_file", "salt"),
];

/// The environment variable that sets `key`.
pub(super) fn variable_of(key: &str) -> String {
    format!("FEDECKS_{}", key.replace('.', "_").to_ascii_uppercase())
}

pub(super) fn is_known(key: &str) -> bool {
    KEYS.iter().any(|(known, _)| *known == key)
}

/// Puts what the environment says in the place of what the file says. Returns which keys it set.
pub(super) fn apply(
    table: &mut Table,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<BTreeSet<&'static str>, ConfigError> {
    let mut set = BTreeSet::new();
    for (key, kind) in KEYS {
        let name = variable_of(key);
        let Some(text) = variable(&name) else { continue };
        let wrong = |problem: &str| ConfigError::Wrong {
            place: format!("environment variable {name}"),
            key: String::new(),
            problem: problem.trim().replace('\n', ", "),
        };
        let text = text.into_string().map_err(|_| wrong("expected text in UTF-8"))?;
        let value = kind.value(&text).map_err(wrong)?;
        let mut alone = Table::new();
        put(&mut alone, key, value.clone());
        Raw::deserialize(alone).map_err(|error| wrong(error.message()))?;
        for (_, other) in INSTEAD.iter().filter(|(this, other)| this == key && !set.contains(other))
        {
            table.remove(*other);
        }
        put(table, key, value);
        set.insert(*key);
    }
    Ok(set)
}

impl Kind {
    fn value(self, text: &str) -> Result<Value, &'static str> {
        Ok(match self {
            Self::Text => Value::String(text.to_owned()),
            Self::Number => {
                Value::Integer(text.trim().parse().map_err(|_| "expected a whole number")?)
            }
            Self::Flag => {
                Value::Boolean(text.trim().parse().map_err(|_| "expected true or false")?)
            }
            Self::List => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
            }
        })
    }
}

/// Sets `table.key` or `key`. The file was checked before: what stands there is a table.
fn put(table: &mut Table, key: &str, value: Value) {
    let Some((group, key)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let group = table.entry(group).or_insert_with(|| Value::Table(Table::new()));
    if let Some(group) = group.as_table_mut() {
        group.insert(key.to_owned(), value);
    }
}
