//! What the environment says in the place of the file.

use std::collections::BTreeSet;
use std::ffi::OsString;

use serde::Deserialize;
use toml::{Table, Value};

use super::error::ConfigError;
use super::keys::{KEYS, Kind, variable_of};
use super::raw::Raw;

/// A secret is set once: in one form it takes the place of the other.
const INSTEAD: &[(&str, &str)] = &[
    ("secret", "secret_file"),
    ("secret_file", "secret"),
    ("salt", "salt_file"),
    ("salt_file", "salt"),
];

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
