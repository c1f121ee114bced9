//! What file and environment say, each with the place where it stands.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::de::{DeTable, DeValue};

use super::error::ConfigError;

/// Everything that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Url,
    DeviceId,
    DeviceIdFrom,
    DataDir,
    CaFile,
    OnlyCaFile,
    ClientCert,
    ClientKey,
    ProvisionFile,
    BackoffBase,
    BackoffCap,
    Network,
    ReportInterval,
    UnreachableAction,
    UnreachableAfter,
    Log,
}

/// A value and where it stands, so that whoever reads it can say so.
#[derive(Debug)]
pub(super) struct Setting<T> {
    key: Field,
    place: String,
    value: T,
}

/// What file and environment say, not yet looked at.
#[derive(Debug)]
pub(super) struct Settings {
    /// For what is missing.
    place: String,
    values: BTreeMap<Field, Setting<Value>>,
}

#[derive(Debug)]
enum Value {
    Text(String),
    Flag(bool),
    Other(&'static str),
}

impl Field {
    pub(super) const ALL: [Self; 16] = [
        Self::Url,
        Self::DeviceId,
        Self::DeviceIdFrom,
        Self::DataDir,
        Self::CaFile,
        Self::OnlyCaFile,
        Self::ClientCert,
        Self::ClientKey,
        Self::ProvisionFile,
        Self::BackoffBase,
        Self::BackoffCap,
        Self::Network,
        Self::ReportInterval,
        Self::UnreachableAction,
        Self::UnreachableAfter,
        Self::Log,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::DeviceId => "device_id",
            Self::DeviceIdFrom => "device_id_from",
            Self::DataDir => "data_dir",
            Self::CaFile => "ca_file",
            Self::OnlyCaFile => "only_ca_file",
            Self::ClientCert => "client_cert",
            Self::ClientKey => "client_key",
            Self::ProvisionFile => "provision_file",
            Self::BackoffBase => "backoff_base",
            Self::BackoffCap => "backoff_cap",
            Self::Network => "network",
            Self::ReportInterval => "report_interval",
            Self::UnreachableAction => "unreachable_action",
            Self::UnreachableAfter => "unreachable_after",
            Self::Log => "log",
        }
    }

    fn variable(self) -> String {
        format!("FEDECKS_{}", self.name().to_ascii_uppercase())
    }
}

impl Settings {
    pub(super) fn from_file(file: &Path) -> Result<Self, ConfigError> {
        match fs::read_to_string(file) {
            Ok(text) => Self::from_text(&text, file),
            Err(source) => Err(ConfigError::Unreadable {
                what: "the configuration",
                file: file.to_owned(),
                source,
            }),
        }
    }

    pub(super) fn from_file_if_there(file: &Path) -> Result<Self, ConfigError> {
        match Self::from_file(file) {
            Err(ConfigError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(Self { place: file.display().to_string(), values: BTreeMap::new() })
            }
            read => read,
        }
    }

    pub(super) fn from_text(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let place = file.display().to_string();
        let at = |start: usize| {
            let line = text.get(..start).unwrap_or(text).matches('\n').count() + 1;
            format!("{place}, line {line}")
        };
        let table = DeTable::parse(text).map_err(|error| ConfigError::Wrong {
            place: error.span().map_or_else(|| place.clone(), |span| at(span.start)),
            problem: format!("not TOML: {}", error.message().trim().replace('\n', ", ")),
        })?;
        let mut values = BTreeMap::new();
        for (name, value) in table.into_inner() {
            let place = at(name.span().start);
            let known = Field::ALL.into_iter().find(|key| key.name() == name.get_ref().as_ref());
            let Some(key) = known else {
                let names = Field::ALL.map(Field::name).join(", ");
                let problem = format!("{}: unknown key, expected one of {names}", name.get_ref());
                return Err(ConfigError::Wrong { place, problem });
            };
            let value = match value.into_inner() {
                DeValue::String(text) => Value::Text(text.into_owned()),
                DeValue::Boolean(flag) => Value::Flag(flag),
                other @ (DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)
                | DeValue::Table(_)) => Value::Other(other.type_str()),
            };
            values.insert(key, Setting { key, place, value });
        }
        Ok(Self { place, values })
    }

    /// What the environment says takes the place of what the file says.
    pub(super) fn with_environment(
        mut self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        for key in Field::ALL {
            let name = key.variable();
            let Some(text) = variable(&name).filter(|text| !text.is_empty()) else { continue };
            let place = format!("environment variable {name}");
            let Ok(text) = text.into_string() else {
                let problem = "expected text in UTF-8".into();
                return Err(ConfigError::Wrong { place, problem });
            };
            let value = match (key, text.as_str()) {
                (Field::OnlyCaFile, "true") => Value::Flag(true),
                (Field::OnlyCaFile, "false") => Value::Flag(false),
                _ => Value::Text(text),
            };
            self.values.insert(key, Setting { key, place, value });
        }
        Ok(self)
    }

    pub(super) fn text(&mut self, key: Field) -> Result<Option<Setting<String>>, ConfigError> {
        let Some(Setting { key, place, value }) = self.values.remove(&key) else { return Ok(None) };
        match value {
            Value::Text(value) if !value.is_empty() => Ok(Some(Setting { key, place, value })),
            Value::Text(_) => {
                Err(Setting { key, place, value: () }.wrong("is empty, expected a text"))
            }
            Value::Flag(_) => Err(Setting { key, place, value: "boolean" }.not("a text in quotes")),
            Value::Other(value) => Err(Setting { key, place, value }.not("a text in quotes")),
        }
    }

    pub(super) fn path(&mut self, key: Field) -> Result<Option<PathBuf>, ConfigError> {
        Ok(self.text(key)?.map(|setting| setting.value.into()))
    }

    pub(super) fn flag(&mut self, key: Field) -> Result<Option<Setting<bool>>, ConfigError> {
        let Some(Setting { key, place, value }) = self.values.remove(&key) else { return Ok(None) };
        match value {
            Value::Flag(value) => Ok(Some(Setting { key, place, value })),
            Value::Text(_) => Err(Setting { key, place, value: "string" }.not("true or false")),
            Value::Other(value) => Err(Setting { key, place, value }.not("true or false")),
        }
    }

    pub(super) fn missing(&self, key: Field) -> ConfigError {
        let problem = format!("{}: is missing, and {} is not set", key.name(), key.variable());
        ConfigError::Wrong { place: self.place.clone(), problem }
    }
}

impl<T> Setting<T> {
    pub(super) fn value(&self) -> &T {
        &self.value
    }

    pub(super) fn wrong(&self, problem: &str) -> ConfigError {
        let problem = format!("{}: {problem}", self.key.name());
        ConfigError::Wrong { place: self.place.clone(), problem }
    }
}

impl Setting<&'static str> {
    fn not(&self, expected: &str) -> ConfigError {
        self.wrong(&format!("is of type {}, expected {expected}", self.value))
    }
}

impl Setting<String> {
    pub(super) fn parse_as<P: FromStr<Err: fmt::Display>>(&self) -> Result<P, ConfigError> {
        self.value.parse().map_err(|error: P::Err| self.wrong(&error.to_string()))
    }
}
