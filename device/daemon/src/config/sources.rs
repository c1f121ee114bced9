//! Where each key is set: on a line of the file, or by an environment variable, which overrides the file. The
//! values of both go through the same deserializer, whose errors are traced back to here by their spans. Of these
//! errors, those that need not end the start become warnings.

use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

use super::error::ConfigError;
use super::raw::{KEYS, REPLACEABLE, Raw};
use super::unknown;
use super::warnings::Warnings;

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
        warnings: &mut Warnings,
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
        sources.leave_out_unknown(&mut table, warnings)?;
        sources.check_encoding(text, table.get_ref(), warnings)?;
        loop {
            let error = match Raw::deserialize(Deserializer::from(table.clone())) {
                Ok(raw) => return Ok((sources, raw)),
                Err(error) => error,
            };
            let problem = sources.trace(&error);
            let Some(key) = sources.key_of(&error).filter(|key| REPLACEABLE.contains(key)) else {
                return Err(problem);
            };
            if table.get_mut().remove(key).is_none() {
                return Err(problem);
            }
            warnings.add_default(&problem);
        }
    }

    /// Keys of another version.
    fn leave_out_unknown(
        &self,
        table: &mut Spanned<DeTable<'_>>,
        warnings: &mut Warnings,
    ) -> Result<(), ConfigError> {
        let is_set = |key: &str| self.keys.iter().any(|known| known.name == key);
        for Key { name, .. } in self.keys.iter().filter(|key| !KEYS.contains(&&*key.name)) {
            let Some(value) = table.get_mut().remove(name.as_str()) else { continue };
            let shown = unknown::shown(name);
            if let Some(reason) = unknown::why_essential(name, value.get_ref(), is_set) {
                return Err(self.invalid(name, format_args!("{shown}: unknown key; {reason}")));
            }
            warnings.add(self.invalid(name, format_args!("{shown}: unknown key, ignored")));
        }
        Ok(())
    }

    /// Bytes that are not UTF-8 were replaced by this character. In a comment they do no harm.
    fn check_encoding(
        &self,
        text: &str,
        table: &DeTable<'_>,
        warnings: &mut Warnings,
    ) -> Result<(), ConfigError> {
        let is_broken = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
        if !is_broken(text) {
            return Ok(());
        }
        for (name, value) in table {
            if value.get_ref().as_str().is_some_and(is_broken) {
                let name = name.get_ref();
                return Err(self.invalid(name, format_args!("{name}: is not UTF-8")));
            }
        }
        warnings.add(self.missing("has bytes that are not UTF-8 where they do no harm"));
        Ok(())
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
        let name = self.key_of(error).unwrap_or_default();
        self.invalid(name, format_args!("{name}: {}", one_line(error)))
    }

    fn key_of(&self, error: &Error) -> Option<&str> {
        let start = error.span()?.start;
        self.keys.iter().find(|key| key.span.contains(&start)).map(|key| &*key.name)
    }
}

fn one_line(error: &Error) -> String {
    error.message().trim().replace('\n', ", ")
}
