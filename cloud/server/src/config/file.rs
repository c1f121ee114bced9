//! The configuration file: its sections, and where in it each key is. The sections check their own
//! values; nothing here compares one section with another.

use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use fedecks_cloud::serve::IpNet;
use serde::Deserialize;
use toml::Table;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigSources};
use super::keys;
use super::plain;
use super::secret::Secret;
use super::sections::{
    Audit, ClusterKeys, Drain, Events, Limits, Listener, Log, PreviousKey, Registration, Sessions,
    Tls, Tokens, Webhook, listeners,
};

/// The file as it is, with the defaults of the sections. What depends on more than one key is not
/// filled in yet.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConfigFile {
    #[serde(deserialize_with = "listeners::addresses")]
    pub(super) listen: Option<Vec<SocketAddr>>,
    pub(super) listener: Vec<Listener>,
    #[serde(deserialize_with = "listeners::networks")]
    pub(super) trusted_proxies: Vec<IpNet>,
    #[serde(deserialize_with = "listeners::path")]
    pub(super) path: Option<String>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) store: Option<Secret>,
    pub(super) store_password_file: Option<PathBuf>,
    pub(super) secret: Option<Secret>,
    pub(super) secret_file: Option<PathBuf>,
    pub(super) salt: Option<Secret>,
    pub(super) salt_file: Option<PathBuf>,
    pub(super) previous_key: Vec<PreviousKey>,
    pub(super) tls: Tls,
    pub(super) tokens: Tokens,
    pub(super) registration: Registration,
    pub(super) sessions: Sessions,
    pub(super) limits: Limits,
    pub(super) drain: Drain,
    pub(super) events: Events,
    pub(super) webhook: Vec<Webhook>,
    pub(super) cluster: Option<ClusterKeys>,
    pub(super) audit: Audit,
    pub(super) log: Log,
}

/// Reads and checks `file`, and returns it as a table that the environment can still change. Without a
/// file the table is empty.
pub(super) fn read(file: Option<&Path>) -> Result<(Table, ConfigSources), ConfigError> {
    let Some(file) = file else { return Ok(Default::default()) };
    let text = fs::read_to_string(file)
        .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
    let mut keys = Vec::new();
    let wrong = |error, keys: &[_]| in_file(file, &text, keys, &error);
    let parsed = DeTable::parse(&text).map_err(|error| ConfigError::Invalid {
        place: place(file, &text, error.span()),
        problem: format!("invalid TOML: {}", plain::syntax(error.message())),
    })?;
    list_keys(parsed.get_ref(), "", &mut keys);
    // From the text, as only then an error has a place.
    toml::from_str::<ConfigFile>(&text).map_err(|error| wrong(error, &keys))?;
    let table = toml::from_str(&text).map_err(|error| wrong(error, &keys))?;
    let lines = keys.iter().map(|(key, span)| (key.clone(), line_of(&text, span))).collect();
    Ok((table, ConfigSources { file: Some(file.to_owned()), lines, ..Default::default() }))
}

/// An error about a value. Its own text would show the line, which may have a secret in it.
fn in_file(
    file: &Path,
    text: &str,
    keys: &[(String, Range<usize>)],
    error: &toml::de::Error,
) -> ConfigError {
    let span = error.span();
    let is_there = |place: &Range<usize>| span.as_ref().is_some_and(|at| place.contains(&at.start));
    let key = keys.iter().find(|(_, place)| is_there(place)).map(|(key, _)| keys::shown(key));
    let plain::Problem { key: named, text: problem } = plain::problem(error.message());
    let problem = match key.or(named) {
        Some(key) => format!("{key}: {problem}"),
        None => problem,
    };
    ConfigError::Invalid { place: place(file, text, span), problem }
}

fn place(file: &Path, text: &str, span: Option<Range<usize>>) -> String {
    let line = span.map_or_else(String::new, |span| format!(", line {}", line_of(text, &span)));
    format!("{}{line}", file.display())
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

/// Lists every key in `table` with the place of itself and its value, as `section.key` where it is in a section, and as
/// `section[0].key` in a list of them.
fn list_keys(table: &DeTable<'_>, prefix: &str, found: &mut Vec<(String, Range<usize>)>) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let tables: Vec<_> = match value.get_ref() {
            DeValue::Table(table) => vec![(format!("{key}."), table)],
            DeValue::Array(items) => {
                let tables = items.iter().filter_map(|item| item.get_ref().as_table());
                let tables = tables.enumerate();
                tables.map(|(index, table)| (format!("{key}[{index}]."), table)).collect()
            }
            _ => Vec::new(),
        };
        if tables.is_empty() {
            found.push((key, name.span().start..value.span().end));
        }
        tables.iter().for_each(|(prefix, table)| list_keys(table, prefix, found));
    }
}
