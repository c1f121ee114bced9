//! Environment variables, which override the file.

use std::collections::BTreeSet;
use std::ffi::OsString;

use serde::Deserialize;
use toml::{Table, Value};

use super::error::ConfigError;
use super::file::ConfigFile;
use super::keys::{KEYS, Kind, variable_of};
use super::plain;

/// Overrides the values of the file with those of the environment. Returns the keys that it set.
pub(super) fn apply(
    table: &mut Table,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<BTreeSet<&'static str>, ConfigError> {
    let mut set = BTreeSet::new();
    for (key, kind) in KEYS {
        let name = variable_of(key);
        let Some(text) = variable(&name) else { continue };
        let invalid = |problem: &str| ConfigError::Invalid {
            place: format!("environment variable {name}"),
            problem: plain::problem(problem).text,
        };
        let text = text.into_string().map_err(|_| invalid("must be text in UTF-8"))?;
        let value = kind.value(&text).map_err(invalid)?;
        let mut only_this = Table::new();
        put(&mut only_this, key, value.clone());
        ConfigFile::deserialize(only_this).map_err(|error| invalid(error.message()))?;
        // A secret is set once: either form of it replaces the other.
        let other = key.strip_suffix("_file").map_or(format!("{key}_file"), str::to_owned);
        if !set.contains(&*other) {
            table.remove(&other);
        }
        put(table, key, value);
        set.insert(*key);
    }
    Ok(set)
}

impl Kind {
    fn value(self, text: &str) -> Result<Value, &'static str> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        match self {
            Self::Text => Ok(text.into()),
            Self::Number => {
                text.trim().parse().map(Value::Integer).map_err(|_| "must be a whole number")
            }
            Self::Flag => {
                text.trim().parse().map(Value::Boolean).map_err(|_| "must be true or false")
            }
            Self::List => Ok(items.collect::<Vec<_>>().into()),
        }
    }
}

/// Sets `table.key` or `key`. The file was checked before, so `table` is one.
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
