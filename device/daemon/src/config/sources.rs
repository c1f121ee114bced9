//! Where each key is set: on a line of the file, or by an environment variable, which overrides the file. Of the
//! problems with keys and values, those that need not end the start become warnings.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::raw::{KEYS, REPLACEABLE, Raw};
use super::unknown;
use super::warnings::Warnings;

pub(super) type Environment = BTreeMap<OsString, OsString>;

/// How the variables of keys begin.
const VARIABLES: &str = "FEDECKS_";

/// Those that the service sets for the programs that it runs, one of which may restart it.
const OWN_VARIABLES: &str = "FEDECKS_UNREACHABLE_";

#[derive(Debug)]
pub(super) struct ConfigSources {
    file: String,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    name: String,
    place: String,
}

impl ConfigSources {
    /// Reads the text of `file` and the environment. The variable of a key is `FEDECKS_` and the key in capitals;
    /// an empty one counts as not set.
    pub(super) fn read(
        file: &Path,
        text: &str,
        environment: &Environment,
        warnings: &mut Warnings,
    ) -> Result<(Self, Raw), ConfigError> {
        let file = file.display().to_string();
        let at = |start: usize| {
            let line = text.get(..start).unwrap_or(text).matches('\n').count() + 1;
            format!("{file}, line {line}")
        };
        let table = DeTable::parse(text).map_err(|error| ConfigError::Invalid {
            place: error.span().map_or_else(|| file.clone(), |span| at(span.start)),
            problem: format!("invalid TOML: {}", error.message().trim().replace('\n', ", ")),
        })?;
        let table = table.get_ref();
        let key = |name: &str, place| Key { name: name.to_owned(), place };
        let keys = table.iter().map(|(name, _)| key(name.get_ref(), at(name.span().start)));
        let mut sources = Self { keys: keys.collect(), file };
        let mut raw = Raw::default();
        for &name in KEYS {
            let variable_name = format!("{VARIABLES}{}", name.to_ascii_uppercase());
            let set_by_variable = environment.get(OsStr::new(&variable_name));
            let set_by_variable = set_by_variable.filter(|value| !value.is_empty());
            let set = match (set_by_variable, table.get(name)) {
                (Some(value), _) => {
                    let place = format!("environment variable {variable_name}");
                    sources.keys.retain(|key| key.name != name);
                    sources.keys.push(key(name, place));
                    match value.clone().into_string() {
                        Ok(text) => raw.set(name, &DeValue::String(text.into())),
                        Err(_) => Err("is not UTF-8".into()),
                    }
                }
                (None, Some(value)) => raw.set(name, value.get_ref()),
                (None, None) => continue,
            };
            let Err(problem) = set else { continue };
            let problem = sources.invalid(name, format_args!("{name}: {problem}"));
            if !REPLACEABLE.contains(&name) {
                return Err(problem);
            }
            warnings.add_default(&problem);
        }
        sources.check_unknown(table, warnings)?;
        sources.check_variables(environment, warnings)?;
        sources.check_encoding(text, table, warnings)?;
        Ok((sources, raw))
    }

    /// Keys of another version.
    fn check_unknown(
        &self,
        table: &DeTable<'_>,
        warnings: &mut Warnings,
    ) -> Result<(), ConfigError> {
        let is_set = |key: &str| self.keys.iter().any(|known| known.name == key);
        for (name, value) in table {
            let name = name.get_ref();
            if KEYS.contains(&&**name) {
                continue;
            }
            let shown = unknown::shown(name);
            if let Some(reason) = unknown::why_essential(name, value.get_ref(), is_set) {
                return Err(self.invalid(name, format_args!("{shown}: unknown key; {reason}")));
            }
            warnings.add(self.invalid(name, format_args!("{shown}: unknown key, ignored")));
        }
        Ok(())
    }

    /// The same for the environment.
    fn check_variables(
        &self,
        environment: &Environment,
        warnings: &mut Warnings,
    ) -> Result<(), ConfigError> {
        let is_set = |key: &str| self.keys.iter().any(|known| known.name == key);
        for variable in unknown_variables(environment) {
            let name = variable[VARIABLES.len()..].to_ascii_lowercase();
            let place = format!("environment variable {variable}");
            let invalid = |problem| ConfigError::Invalid { place, problem };
            match unknown::why_essential(&name, &DeValue::Boolean(true), is_set) {
                Some(reason) => return Err(invalid(format!("unknown; {reason}"))),
                None => warnings.add(invalid("unknown, ignored".to_owned())),
            }
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
        for name in KEYS.iter().filter(|name| !REPLACEABLE.contains(name)) {
            if table.get(*name).and_then(|value| value.get_ref().as_str()).is_some_and(is_broken) {
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
        ConfigError::Invalid { place: self.place(key).to_owned(), problem: problem.to_string() }
    }

    /// Where `key` is set; the file if it is not.
    pub(super) fn place(&self, key: &str) -> &str {
        let place = self.keys.iter().find(|known| known.name == key).map(|known| &known.place);
        place.unwrap_or(&self.file)
    }

    /// `key` is set without `other`, which it needs.
    pub(super) fn missing_counterpart(&self, key: &str, other: &str) -> ConfigError {
        self.invalid(key, format_args!("{key} is set but {other} is not"))
    }
}

/// The variables that look like those of keys, and are not. They are escaped and cut.
pub(super) fn unknown_variables(environment: &Environment) -> impl Iterator<Item = String> {
    let names = environment.keys().map(|name| name.to_string_lossy());
    names.filter_map(|variable| {
        let name = variable.strip_prefix(VARIABLES)?.to_ascii_lowercase();
        let is_known = KEYS.contains(&&*name) || variable.starts_with(OWN_VARIABLES);
        (!is_known).then(|| unknown::shown(&variable))
    })
}
