//! `[[webhook]]`: URLs that events are delivered to.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use fedecks_store::DevicePattern;
use http::Uri;
use serde::de::{Deserialize, Deserializer, Error};

use super::secrets::Source;
use crate::config::error::{ConfigError, ConfigSources};
use crate::config::secret::Secret;
use crate::config::values::{MAX_U32, NO_MAX, number, parsed, parsed_list, positive};
use crate::event_kind::EventKind;
use crate::webhook_signature::SigningSecret;

/// A URL that events are delivered to.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Webhook {
    #[serde(deserialize_with = "name")]
    pub(crate) name: String,
    #[serde(deserialize_with = "url")]
    pub(crate) url: Uri,
    secret: Option<Secret>,
    pub(crate) secret_file: Option<PathBuf>,
    /// Authorities that are trusted for the receiver's certificate, in addition to the public ones.
    pub(crate) ca_file: Option<PathBuf>,
    /// The kinds of events to deliver; all if empty.
    #[serde(deserialize_with = "kinds")]
    pub(crate) kinds: Vec<EventKind>,
    /// The devices whose events to deliver; all if `None`.
    #[serde(deserialize_with = "devices")]
    pub(crate) devices: Option<DevicePattern>,
    /// How long a delivery may take.
    #[serde(deserialize_with = "positive")]
    pub(crate) timeout: Duration,
    /// The age at which an event is dropped.
    #[serde(deserialize_with = "positive")]
    pub(crate) max_age: Duration,
    /// The number of events that may wait for the receiver.
    #[serde(deserialize_with = "number::<_, _, 1, NO_MAX>")]
    pub(crate) keep: usize,
    /// The bytes of the store that they may take, approximately.
    #[serde(deserialize_with = "number::<_, _, 1, NO_MAX>")]
    pub(crate) keep_bytes: u64,
    /// The number of deliveries at a time.
    #[serde(deserialize_with = "number::<_, _, 1, NO_MAX>")]
    pub(crate) concurrency: usize,
    /// The bytes of the events that are being delivered. A single event may be bigger.
    #[serde(deserialize_with = "number::<_, _, 1, MAX_U32>")]
    pub(crate) in_flight_bytes: u64,
    /// Its own section, such as `webhook[0]`.
    #[serde(skip)]
    section: String,
    #[serde(skip)]
    sources: ConfigSources,
}

/// Name, URL and secret have no default; [`check`] misses them.
impl Default for Webhook {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: Uri::default(),
            secret: None,
            secret_file: None,
            ca_file: None,
            kinds: Vec::new(),
            devices: None,
            timeout: Duration::from_secs(10),
            max_age: Duration::from_secs(3 * 24 * 3600),
            keep: 100_000,
            keep_bytes: 1024 * 1024 * 1024,
            concurrency: 8,
            in_flight_bytes: 16 * 1024 * 1024,
            section: String::new(),
            sources: ConfigSources::default(),
        }
    }
}

impl Webhook {
    /// What its deliveries are signed with. Only the server reads it: other commands may run without
    /// the permission to.
    pub(crate) fn signing_secret(&self) -> Result<SigningSecret, ConfigError> {
        let source = self.source()?;
        let secret = source.read(&self.sources)?;
        SigningSecret::new(secret.expose())
            .map_err(|error| source.invalid(&self.sources, format_args!("{}: {error}", self.name)))
    }

    /// Its secret is in the configuration itself.
    pub(crate) fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// Its URL for people: without its path and query, which may have a secret in them.
    pub(crate) fn shown_url(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or_default();
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let has_more = self.url.path_and_query().is_some_and(|rest| rest.as_str() != "/");
        format!("{scheme}://{authority}/{}", if has_more { "…" } else { "" })
    }

    fn source(&self) -> Result<Source, ConfigError> {
        let (value, file) = (self.secret.clone(), self.secret_file.clone());
        let section = format!("{}.", self.section);
        let source = Source::check(value, file, &section, "secret", &self.sources)?;
        source.ok_or_else(|| self.missing("secret or secret_file"))
    }

    fn missing(&self, what: &str) -> ConfigError {
        self.sources.invalid(&self.section, format!("webhook {:?} has no {what}", self.name))
    }

    /// The value of `key` in its section is not as expected.
    pub(crate) fn invalid(&self, key: &str, problem: impl fmt::Display) -> ConfigError {
        self.sources.invalid_value(&format!("{}.{key}", self.section), problem)
    }
}

pub(crate) fn check(
    mut webhooks: Vec<Webhook>,
    sources: &ConfigSources,
) -> Result<Vec<Webhook>, ConfigError> {
    let mut names = HashSet::new();
    for (index, webhook) in webhooks.iter_mut().enumerate() {
        webhook.sources = sources.clone();
        webhook.section = format!("webhook[{index}]");
        if webhook.name.is_empty() {
            return Err(sources.invalid(&webhook.section, "a [[webhook]] has no name"));
        }
        if !names.insert(webhook.name.clone()) {
            let problem = format!("two [[webhook]] sections are named {:?}", webhook.name);
            return Err(sources.invalid(&webhook.section, problem));
        }
        if webhook.url.host().is_none() {
            return Err(webhook.missing("url"));
        }
        webhook.source()?;
    }
    Ok(webhooks)
}

fn name<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let is_name = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(is_allowed);
    let expected = "must be 1 to 64 letters, digits, '-', '.' and '_'";
    parsed(d, |text| is_name(text).then(|| text.to_owned()), expected)
}

/// The error does not show the URL, which may have a secret in it.
fn url<'de, D: Deserializer<'de>>(d: D) -> Result<Uri, D::Error> {
    let url = String::deserialize(d).ok().and_then(|text| text.parse::<Uri>().ok());
    let is_usable = |url: &Uri| {
        matches!(url.scheme_str(), Some("https" | "http"))
            && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    let expected = "must be https://HOST/PATH, or http:// for tests, without a user name";
    url.filter(is_usable).ok_or_else(|| Error::custom(expected))
}

fn kinds<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<EventKind>, D::Error> {
    parsed_list(d, EventKind::from_word, &format!("must be one of {}", EventKind::words()))
}

fn devices<'de, D: Deserializer<'de>>(d: D) -> Result<Option<DevicePattern>, D::Error> {
    let text =
        String::deserialize(d).map_err(|_| Error::custom("must be a pattern of device ids"))?;
    let pattern = DevicePattern::new(&text);
    pattern.map(Some).map_err(|error| Error::custom(format_args!("{text:?} is not valid: {error}")))
}
