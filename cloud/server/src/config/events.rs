//! What is kept of events, and the webhooks that they are delivered to.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use fedecks_store::DevicePattern;
use http::Uri;

use super::error::{ConfigError, Places};
use super::raw;
use super::secret_source::Source;
use crate::event_kind::EventKind;
use crate::webhook_signature::SigningSecret;

/// What is kept of what happens to devices, and for how many at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Events {
    /// How many events a stream can go back.
    pub(crate) keep: usize,
    /// About how many bytes of memory they may take.
    pub(crate) keep_bytes: usize,
    /// How many streams may be open.
    pub(crate) streams: usize,
}

/// A URL that events are delivered to.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub(crate) name: String,
    pub(crate) url: Uri,
    secret: Source,
    /// Authorities that may vouch for the receiver beside the public ones.
    pub(crate) ca_file: Option<PathBuf>,
    /// Which kinds of events; all if there is none.
    pub(crate) kinds: Vec<EventKind>,
    /// Of which devices; of all if this is not there.
    pub(crate) devices: Option<DevicePattern>,
    /// How long a delivery may take.
    pub(crate) timeout: Duration,
    /// After how long an event is given up.
    pub(crate) max_age: Duration,
    /// How many events may wait for the receiver.
    pub(crate) keep: usize,
    /// How many bytes of the store they may take.
    pub(crate) keep_bytes: u64,
    /// How many may be on their way at once.
    pub(crate) concurrency: usize,
    places: Places,
}

impl Events {
    pub(super) fn check(events: &raw::Events, places: &Places) -> Result<Self, ConfigError> {
        let checked = Self {
            keep: events.keep.unwrap_or(10_000),
            keep_bytes: events.keep_bytes.unwrap_or(16 * 1024 * 1024),
            streams: events.streams.unwrap_or(1_000),
        };
        for (key, number) in [
            ("events.keep", checked.keep),
            ("events.keep_bytes", checked.keep_bytes),
            ("events.streams", checked.streams),
        ] {
            if number == 0 {
                return Err(places.wrong(key, "is 0, expected at least 1"));
            }
        }
        Ok(checked)
    }
}

impl Webhook {
    /// What its deliveries are signed with. Read when it is needed: other commands may run without the
    /// right to read it.
    pub(crate) fn signing_secret(&self) -> Result<SigningSecret, ConfigError> {
        let secret = self.secret.read(&self.places)?;
        SigningSecret::new(secret.expose())
            .map_err(|error| self.secret.wrong(&self.places, &format!("{}: {error}", self.name)))
    }
}

pub(super) fn check_webhooks(
    webhooks: Vec<raw::Webhook>,
    places: &Places,
) -> Result<Vec<Webhook>, ConfigError> {
    let mut names = HashSet::new();
    let mut checked = Vec::new();
    for webhook in webhooks {
        let webhook = check_webhook(webhook, places)?;
        if !names.insert(webhook.name.clone()) {
            let problem = format!("is {:?} twice, expected a name of its own", webhook.name);
            return Err(places.wrong("webhook.name", &problem));
        }
        checked.push(webhook);
    }
    Ok(checked)
}

fn check_webhook(webhook: raw::Webhook, places: &Places) -> Result<Webhook, ConfigError> {
    let name = webhook.name;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        let problem = format!("is {name:?}, expected 1 to 64 letters, digits, '-', '.' and '_'");
        return Err(places.wrong("webhook.name", &problem));
    }
    let wrong = |key: &str, problem: String| {
        places.wrong(&format!("webhook.{key}"), &format!("{name}: {problem}"))
    };
    // Not shown: it may have a secret in it.
    let url = webhook.url.parse::<Uri>().ok().filter(|url| {
        matches!(url.scheme_str(), Some("https" | "http"))
            && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    });
    let url = url.ok_or_else(|| {
        wrong("url", "expected https://HOST/PATH, or http://, without a user name".into())
    })?;
    let secret = Source::check(webhook.secret, webhook.secret_file, "webhook.", "secret", places)?
        .ok_or_else(|| wrong("secret", "is missing, expected secret or secret_file".into()))?;
    let mut kinds = Vec::new();
    for word in webhook.kinds.unwrap_or_default() {
        let kind = EventKind::from_word(&word).ok_or_else(|| {
            let known: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
            wrong("kinds", format!("{word:?} is no kind of event, expected {}", known.join(", ")))
        })?;
        kinds.push(kind);
    }
    let devices = webhook.devices.map(|pattern| {
        pattern
            .parse::<DevicePattern>()
            .map_err(|error| wrong("devices", format!("is {pattern:?}: {error}")))
    });
    let checked = Webhook {
        url,
        secret,
        ca_file: webhook.ca_file,
        kinds,
        devices: devices.transpose()?,
        timeout: webhook.timeout.map_or(Duration::from_secs(10), Into::into),
        max_age: webhook.max_age.map_or(Duration::from_secs(3 * 24 * 3600), Into::into),
        keep: webhook.keep.unwrap_or(100_000),
        keep_bytes: webhook.keep_bytes.unwrap_or(1024 * 1024 * 1024),
        concurrency: webhook.concurrency.unwrap_or(8),
        places: places.clone(),
        name: name.clone(),
    };
    for (key, is_zero) in [
        ("timeout", checked.timeout.is_zero()),
        ("max_age", checked.max_age.is_zero()),
        ("keep", checked.keep == 0),
        ("keep_bytes", checked.keep_bytes == 0),
        ("concurrency", checked.concurrency == 0),
    ] {
        if is_zero {
            return Err(wrong(key, "is 0, expected more than that".into()));
        }
    }
    Ok(checked)
}
