//! Where each key is set: on a line of the file, or by an environment variable, which overrides the file. The
//! values of both go through the same deserializer, whose errors are traced back to here by their spans.

use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

use super::error::ConfigError;
use super::raw::{KEYS, Raw};

#[derive(Debug)]
pub(super) struct ConfigSources {
    file: String,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    name: String,
    /// Of key and value in the file. The variables follow the file's text.
    span: Range<usize>,
    place: String,
}

impl ConfigSources {
    /// Reads the text of `file` and the environment through `variable`. The variable of a key is `FEDECKS_`
    /// and the key in capitals; an empty one counts as not set.
    pub(super) fn read(
        file: &Path,
        text: &str,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(Self, Raw), ConfigError> {
        let file = file.display().to_string();
        let at = |start: usize| {
            let line = text.get(..start).unwrap_or(text).matches('\n').count() + 1;
            format!("{file}, line {line}")
        };
        let mut table = DeTable::parse(text).map_err(|error| ConfigError::Invalid {
            place: error.span().map_or_else(|| file.clone(), |span| at(span.start)),
            problem: format!("invalid TOML: {}", one_line(&error)),
        })?;
        let keys = table.get_ref().iter().map(|(name, value)| Key {
            name: name.get_ref().to_string(),
            span: name.span().start..name.span().end.max(value.span().end),
            place: at(name.span().start),
        });
        let mut keys: Vec<Key> = keys.collect();
        for (number, &name) in KEYS.iter().enumerate() {
            let variable_name = format!("FEDECKS_{}", name.to_ascii_uppercase());
            let place = format!("environment variable {variable_name}");
            let Some(value) = variable(&variable_name).filter(|value| !value.is_empty()) else {
                continue;
            };
            let Ok(value) = value.into_string() else {
                return Err(ConfigError::Invalid { place, problem: "is not UTF-8".into() });
            };
            let start = text.len() + number;
            let span = start..start + 1;
            let value = Spanned::new(span.clone(), DeValue::String(value.into()));
            table.get_mut().insert(Spanned::new(span.clone(), name.into()), value);
            keys.retain(|key| key.name != name);
            keys.push(Key { name: name.to_owned(), span, place });
        }
        let sources = Self { file, keys };
        match Raw::deserialize(Deserializer::from(table)) {
            Ok(raw) => Ok((sources, raw)),
            Err(error) => Err(sources.trace(&error)),
        }
    }

    /// The file has no line for what is missing.
    pub(super) fn missing(&self, problem: &str) -> ConfigError {
        ConfigError::Invalid { place: self.file.clone(), problem: problem.to_owned() }
    }

    /// Reports `problem`, a sentence, where `key` is set.
    pub(super) fn invalid(&self, key: &str, problem: impl fmt::Display) -> ConfigError {
        let place = self.keys.iter().find(|known| known.name == key).map(|known| &known.place);
        let place = place.unwrap_or(&self.file).clone();
        ConfigError::Invalid { place, problem: problem.to_string() }
    }

    /// `key` is set without `other`, which it needs.
    pub(super) fn missing_counterpart(&self, key: &str, other: &str) -> ConfigError {
        self.invalid(key, format_args!("{key} is set but {other} is not"))
    }

    fn trace(&self, error: &Error) -> ConfigError {
        let start = error.span().map(|span| span.start);
        let key = self.keys.iter().find(|key| start.is_some_and(|at| key.span.contains(&at)));
        let name = key.map_or("", |key| &key.name);
        self.invalid(name, format_args!("{name}: {}", one_line(error)))
    }
}

fn one_line(error: &Error) -> String {
    error.message().trim().replace('\n', ", ")
}
