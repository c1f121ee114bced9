//! The configuration of the service, read from its file and the environment.

mod error;
mod raw;
mod sources;

use std::ffi::OsString;
use std::fs;
use std::io;
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
use sources::ConfigSources;

/// The name of the credential that systemd hands over, in the folder `$CREDENTIALS_DIRECTORY`.
const CREDENTIAL_NAME: &str = "fedecks.provision";

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
    /// File with the credentials for the first login.
    pub provision_file: PathBuf,
    /// The same as a systemd credential, if systemd passes credentials to the service.
    pub provision_credential: Option<PathBuf>,
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
    /// How often the device sends its health to the cloud; never without it.
    pub report_interval: Option<Duration>,
    /// What to do when the cloud has been unreachable for too long; nothing without it.
    pub unreachable_action: Option<UnreachableAction>,
    /// The least important log level that is written.
    pub log: tracing::Level,
}

impl DeviceConfig {
    /// The default configuration file.
    pub const DEFAULT_FILE: &str = "/etc/fedecks/fedecks.toml";

    /// The default data directory.
    pub const DEFAULT_DATA_DIR: &str = "/var/lib/fedecks";

    /// Reads `file`, which must exist, or [`DeviceConfig::DEFAULT_FILE`], which need not; then the environment
    /// through `variable`, which overrides the file. The variable of a key is `FEDECKS_` and the key in
    /// capitals; an empty one counts as not set. If systemd passes credentials to the service, the environment
    /// says where.
    pub fn load(
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new(Self::DEFAULT_FILE));
        let text = match fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if file.is_none() && error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(ConfigError::Unreadable { file: path.to_owned(), source }),
        };
        Self::parse(path, text.as_deref(), &variable)
    }

    /// `text` is that of `file`, if it exists.
    fn parse(
        file: &Path,
        text: Option<&str>,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let (sources, raw) = ConfigSources::read(file, text.unwrap_or_default(), variable)?;
        let (backoff_base, backoff_cap) = backoff(&raw, &sources)?;
        let unreachable_action = unreachable_action(&raw, backoff_cap, &sources)?;
        let Some(Parsed(Url(url))) = raw.url else {
            return Err(match text {
                Some(_) => sources.missing("url is missing and FEDECKS_URL is not set"),
                None => ConfigError::Missing { file: file.to_owned() },
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
            (Some(Parsed(certificate)), Some(Parsed(key))) => Some(Identity { certificate, key }),
            (None, None) => None,
            (Some(_), None) => return Err(sources.missing_counterpart("client_cert", "client_key")),
            (None, Some(_)) => return Err(sources.missing_counterpart("client_key", "client_cert")),
        };
        let data_dir = raw.data_dir.map_or_else(|| Self::DEFAULT_DATA_DIR.into(), |it| it.0);
        let credentials = variable("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
        Ok(Self {
            url,
            device_id: raw.device_id.map(|it| it.0),
            device_id_from: raw.device_id_from.map(|it| it.0),
            provision_file: raw
                .provision_file
                .map_or_else(|| data_dir.join("provision.toml"), |it| it.0),
            provision_credential: credentials
                .map(|folder| Path::new(&folder).join(CREDENTIAL_NAME)),
            data_dir,
            tls: TlsOptions { trust, identity },
            backoff_base,
            backoff_cap,
            network: raw.network.map_or_else(NetworkWatch::default, |it| it.0),
            max_decoded: raw.max_decoded.map_or(Limits::DEVICE_DECODED, |it| it.0),
            max_waiting: raw.max_waiting.map_or(Client::MAX_WAITING, |it| it.0),
            report_interval: raw.report_interval.map(|it| it.0.0),
            unreachable_action,
            log: raw.log.map_or(tracing::Level::INFO, |it| it.0.0),
        })
    }
}

fn backoff(raw: &Raw, sources: &ConfigSources) -> Result<(Duration, Duration), ConfigError> {
    let cap = raw.backoff_cap.as_ref().map_or(Config::BACKOFF_CAP, |it| it.0.0);
    let Some(Parsed(BackoffBound(base))) = raw.backoff_base else {
        // A configuration that sets only a small cap means the base as well.
        return Ok((Config::BACKOFF_BASE.min(cap), cap));
    };
    if base > cap {
        let problem = format!("backoff_base ({base:?}) must not exceed backoff_cap ({cap:?})");
        return Err(sources.invalid("backoff_base", problem));
    }
    Ok((base, cap))
}

fn unreachable_action(
    raw: &Raw,
    backoff_cap: Duration,
    sources: &ConfigSources,
) -> Result<Option<UnreachableAction>, ConfigError> {
    let after = raw.unreachable_after.as_ref().map(|it| it.0.0);
    let Some(Parsed(program)) = &raw.unreachable_action else {
        return match after {
            Some(_) => Err(sources.missing_counterpart("unreachable_after", "unreachable_action")),
            None => Ok(None),
        };
    };
    if !program.is_absolute() {
        let problem =
            "unreachable_action must be the absolute path of a program, without arguments";
        return Err(sources.invalid("unreachable_action", problem));
    }
    let after = after.unwrap_or_else(|| UnreachableAction::DEFAULT_AFTER.max(backoff_cap * 2));
    // A shorter time could pass without a single attempt.
    if after <= backoff_cap {
        let problem = format!(
            "unreachable_after ({after:?}) must be longer than backoff_cap ({backoff_cap:?})"
        );
        return Err(sources.invalid("unreachable_after", problem));
    }
    Ok(Some(UnreachableAction { program: program.clone(), after }))
}

#[cfg(test)]
mod tests;
