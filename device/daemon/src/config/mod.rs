//! The configuration of the service, read from its file and the environment.

mod error;
mod raw;
mod sources;
mod tls_places;
mod unknown;
mod warnings;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedecks_device::{Client, CloudUrl, Identity, TlsOptions, Trust};
use fedecks_device_core::Config;
use fedecks_network_watch::NetworkWatch;
use fedecks_protocol::{DeviceId, Limits};

use crate::identity::IdSource;
use crate::unreachable_action::UnreachableAction;
pub use error::ConfigError;
use raw::{BackoffBound, Flag, Parsed, Raw, Url};
use sources::{ConfigSources, Environment};
use tls_places::TlsPlaces;
use warnings::Warnings;

/// The name of the credential that systemd hands over, in the folder `$CREDENTIALS_DIRECTORY`.
const CREDENTIAL_NAME: &str = "fedecks.provision";

/// The most that the file may have, in bytes.
const MAX_SIZE: u64 = 256 * 1024;

/// The checked configuration of the service.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceConfig {
    /// The address of the cloud.
    pub url: CloudUrl,
    /// The device's id; without it, that of an [`IdSource`].
    pub device_id: Option<DeviceId>,
    /// The only source of the device's id; without it, all of them are tried in order.
    pub device_id_from: Option<IdSource>,
    /// Where the token and the trusted time are kept.
    pub data_dir: PathBuf,
    /// Trusted authorities, and the device's own certificate.
    pub tls: TlsOptions,
    /// Where the files of `tls` are named.
    pub(crate) tls_places: TlsPlaces,
    /// File with the credentials for the first login.
    pub provision_file: PathBuf,
    /// The same as a systemd credential, if systemd passes credentials to the service.
    pub provision_credential: Option<PathBuf>,
    /// The file of the device's own certificate, if that alone is enough for a login.
    pub certificate_login: Option<PathBuf>,
    /// Upper bound of the first random wait after a failure.
    pub backoff_base: Duration,
    /// Upper bound of every random wait.
    pub backoff_cap: Duration,
    /// How the network is watched.
    pub network: NetworkWatch,
    /// The most that a message from the cloud may take in memory, in bytes.
    pub max_decoded: usize,
    /// The most that messages that wait may take together, in bytes, in each direction.
    pub max_waiting: usize,
    /// The memory of messages that are kept until the cloud has acknowledged them, in bytes.
    pub keep_bytes: usize,
    /// The limits of the kept messages on disk, in bytes and in messages.
    pub queue_limits: (u64, u64),
    /// How often the device sends its health to the cloud; never without it.
    pub report_interval: Option<Duration>,
    /// What to do when the cloud has been unreachable for too long; nothing without it.
    pub unreachable_action: Option<UnreachableAction>,
    /// The least important log level that is written.
    pub log: tracing::Level,
    /// What is wrong, and ignored so that the device stays reachable: unknown keys, and invalid values where the default
    /// is safe. Each is a sentence that says where.
    pub warnings: Vec<String>,
}

impl DeviceConfig {
    /// The default configuration file.
    pub const DEFAULT_FILE: &str = "/etc/fedecks/fedecks.toml";

    /// The default data directory.
    pub const DEFAULT_DATA_DIR: &str = "/var/lib/fedecks";

    /// Reads `file`, which must exist, or [`DeviceConfig::DEFAULT_FILE`], which need not; then the environment,
    /// which overrides the file. The variable of a key is `FEDECKS_` and the key in capitals; an empty one
    /// counts as not set. If systemd passes credentials to the service, the environment
    /// says where. What does not keep the service from running becomes one of the [`DeviceConfig::warnings`].
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new(Self::DEFAULT_FILE));
        let text = match read(path) {
            Ok(text) => Some(text),
            Err(error) if file.is_none() && error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(ConfigError::Unreadable { file: path.to_owned(), source }),
        };
        Self::parse(path, text.as_deref(), &environment.into_iter().collect())
    }

    /// `text` is that of `file`, if it exists.
    fn parse(
        file: &Path,
        text: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let mut warnings = Warnings::default();
        let text_or_none = text.unwrap_or_default();
        let (sources, raw) = ConfigSources::read(file, text_or_none, environment, &mut warnings)?;
        for (key, path) in raw.paths() {
            if path.is_relative() {
                let problem = format!(
                    "{key}: {path:?} is relative to the directory that the service is started in; write an absolute path"
                );
                warnings.add(sources.invalid(key, problem));
            }
        }
        let (backoff_base, backoff_cap) = backoff(&raw, &sources, &mut warnings);
        let unreachable_action = unreachable_action(&raw, backoff_cap, &sources, &mut warnings);
        let Some(Parsed(Url(url))) = raw.url else {
            let unknown = sources::unknown_variables(environment).next();
            let hint = unknown.map_or_else(String::new, |name| format!("; {name} is unknown"));
            return Err(match text {
                Some(_) => {
                    sources.missing(&format!("url is missing and FEDECKS_URL is not set{hint}"))
                }
                None => ConfigError::Missing { file: file.to_owned(), hint },
            });
        };
        let only_ca_file = raw.only_ca_file.is_some_and(|Flag(only)| only);
        let trust = match raw.ca_file {
            Some(Parsed(file)) if only_ca_file => Trust::Only(file),
            Some(Parsed(file)) => Trust::PublicAnd(file),
            None if only_ca_file => {
                return Err(sources.missing_counterpart("only_ca_file", "ca_file"));
            }
            None => Trust::Public,
        };
        let identity = match (raw.client_cert, raw.client_key) {
            (Some(Parsed(certificate)), Some(Parsed(key))) => Some(Identity::new(certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(sources.missing_counterpart("client_cert", "client_key")),
            (None, Some(_)) => return Err(sources.missing_counterpart("client_key", "client_cert")),
        };
        let client_cert_login = raw.client_cert_login.is_some_and(|Flag(login)| login);
        if client_cert_login && identity.is_none() {
            warnings.add_default(&sources.missing_counterpart("client_cert_login", "client_cert"));
        }
        let certificate_login =
            identity.as_ref().filter(|_| client_cert_login).map(|it| it.certificate.clone());
        let data_dir = raw.data_dir.map_or_else(|| Self::DEFAULT_DATA_DIR.into(), |it| it.0);
        let credentials = environment.get(OsStr::new("CREDENTIALS_DIRECTORY"));
        let credentials = credentials.filter(|folder| !folder.is_empty());
        Ok(Self {
            url,
            device_id: raw.device_id.map(|it| it.0),
            device_id_from: raw.device_id_from.map(|it| it.0),
            provision_file: raw
                .provision_file
                .map_or_else(|| data_dir.join("provision.toml"), |it| it.0),
            provision_credential: credentials
                .map(|folder| Path::new(&folder).join(CREDENTIAL_NAME)),
            certificate_login,
            data_dir,
            tls: identity.into_iter().fold(TlsOptions::new(trust), TlsOptions::identity),
            tls_places: TlsPlaces::of(&sources),
            backoff_base,
            backoff_cap,
            network: raw.network.map_or_else(NetworkWatch::default, |it| it.0),
            max_decoded: raw.max_decoded.map_or(Limits::DEVICE_DECODED, |it| it.0),
            max_waiting: raw.max_waiting.map_or(Client::MAX_WAITING, |it| it.0),
            keep_bytes: raw.keep_bytes.map_or(Client::KEEP_BYTES, |it| it.0),
            queue_limits: (
                raw.queue_max_bytes.map_or(Client::QUEUE_LIMITS.0, |it| it.0),
                raw.queue_max_messages.map_or(Client::QUEUE_LIMITS.1, |it| it.0),
            ),
            report_interval: raw.report_interval.map(|it| it.0.0),
            unreachable_action,
            log: raw.log.map_or(tracing::Level::INFO, |it| it.0.0),
            warnings: warnings.into_lines(),
        })
    }
}

/// Bytes that are not UTF-8 are replaced, see [`ConfigSources`].
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(io::Error::other(format!("it is longer than {MAX_SIZE} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn backoff(raw: &Raw, sources: &ConfigSources, warnings: &mut Warnings) -> (Duration, Duration) {
    let cap = raw.backoff_cap.as_ref().map_or(Config::BACKOFF_CAP, |it| it.0.0);
    // A configuration that sets only a small cap means the base as well.
    let default = Config::BACKOFF_BASE.min(cap);
    match raw.backoff_base {
        Some(Parsed(BackoffBound(base))) if base > cap => {
            let problem = format!("backoff_base ({base:?}) must not exceed backoff_cap ({cap:?})");
            warnings.add_default(&sources.invalid("backoff_base", problem));
            (default, cap)
        }
        Some(Parsed(BackoffBound(base))) => (base, cap),
        None => (default, cap),
    }
}

fn unreachable_action(
    raw: &Raw,
    backoff_cap: Duration,
    sources: &ConfigSources,
    warnings: &mut Warnings,
) -> Option<UnreachableAction> {
    let after = raw.unreachable_after.as_ref().map(|it| it.0.0);
    let Some(Parsed(program)) = &raw.unreachable_action else {
        if after.is_some() {
            let problem = sources.missing_counterpart("unreachable_after", "unreachable_action");
            warnings.add(problem);
        }
        return None;
    };
    if !program.is_absolute() {
        let problem =
            "unreachable_action must be the absolute path of a program, without arguments";
        warnings.add_default(&sources.invalid("unreachable_action", problem));
        return None;
    }
    let default = UnreachableAction::DEFAULT_AFTER.max(backoff_cap * 2);
    let after = match after {
        // A shorter time could pass without a single attempt.
        Some(after) if after <= backoff_cap => {
            let problem = format!(
                "unreachable_after ({after:?}) must be longer than backoff_cap ({backoff_cap:?})"
            );
            warnings.add_default(&sources.invalid("unreachable_after", problem));
            default
        }
        after => after.unwrap_or(default),
    };
    Some(UnreachableAction { program: program.clone(), after })
}

#[cfg(test)]
mod tests;
