//! What the device service reads from its file and the environment.

mod error;
mod settings;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedecks_common::HumanDuration;
use fedecks_device::{CloudUrl, Identity, TlsOptions, Trust};
use fedecks_device_core::Config;
use fedecks_network_watch::NetworkWatch;
use fedecks_protocol::DeviceId;

use crate::identity::IdSource;
use crate::unreachable_action::UnreachableAction;
pub use error::ConfigError;
use settings::{Field, Setting, Settings};

/// The name of the credential that systemd hands over, in the folder `$CREDENTIALS_DIRECTORY`.
const CREDENTIAL_NAME: &str = "fedecks.provision";

/// Everything that the service needs to know, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceConfig {
    /// Where the cloud is.
    pub url: CloudUrl,
    /// Who the device is; without it, what one of the [`IdSource`]s says.
    pub device_id: Option<DeviceId>,
    /// The only source that is asked who the device is; without it, all of them in their order.
    pub device_id_from: Option<IdSource>,
    /// Where the token and the trusted time are kept.
    pub data_dir: PathBuf,
    /// Whom to trust, and the device's own certificate.
    pub tls: TlsOptions,
    /// File with the credentials for the first login.
    pub provision_file: PathBuf,
    /// The same, as systemd hands it to the service; none where it hands over nothing.
    pub provision_credential: Option<PathBuf>,
    /// Upper bound of the first random wait after a failure.
    pub backoff_base: Duration,
    /// Upper bound of every random wait.
    pub backoff_cap: Duration,
    /// By what the network is watched.
    pub network: NetworkWatch,
    /// How often the cloud is sent a report of this device's health; never without it.
    pub report_interval: Option<Duration>,
    /// What is done when the cloud has been out of reach for too long; nothing without it.
    pub unreachable_action: Option<UnreachableAction>,
    /// Which log lines are written: those of this level and the more important ones.
    pub log: tracing::Level,
}

impl DeviceConfig {
    /// The file that is read where no other is given.
    pub const DEFAULT_FILE: &str = "/etc/fedecks/fedecks.toml";

    /// Where data is kept if nothing else is said.
    pub const DEFAULT_DATA_DIR: &str = "/var/lib/fedecks";

    /// Reads `file`, which must be there, or without one [`DeviceConfig::DEFAULT_FILE`], if that is
    /// there; then the environment through `variable`, which holds against the file. The variable
    /// of a key is `FEDECKS_` and the key in capitals; an empty one counts as not set. Where systemd
    /// hands credentials to the service it says so in the environment too.
    pub fn load(
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let settings = match file {
            Some(file) => Settings::from_file(file)?,
            None => Settings::from_file_if_there(Path::new(Self::DEFAULT_FILE))?,
        };
        let credentials = variable("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
        let mut config = Self::from_settings(settings.with_environment(variable)?)?;
        config.provision_credential =
            credentials.map(|folder| Path::new(&folder).join(CREDENTIAL_NAME));
        Ok(config)
    }

    fn from_settings(mut settings: Settings) -> Result<Self, ConfigError> {
        let Some(url) = settings.text(Field::Url)? else {
            return Err(settings.missing(Field::Url));
        };
        let url = url.parse_as::<CloudUrl>()?;
        let device_id = match settings.text(Field::DeviceId)? {
            Some(device_id) => Some(device_id.parse_as::<DeviceId>()?),
            None => None,
        };
        let device_id_from = match settings.text(Field::DeviceIdFrom)? {
            Some(source) => Some(id_source(&source)?),
            None => None,
        };
        let data_dir = settings.path(Field::DataDir)?;
        let data_dir = data_dir.unwrap_or_else(|| Self::DEFAULT_DATA_DIR.into());
        let tls = TlsOptions { trust: trust(&mut settings)?, identity: identity(&mut settings)? };
        let provision_file = settings.path(Field::ProvisionFile)?;
        let (backoff_base, backoff_cap) = backoff(&mut settings)?;
        let network = match settings.text(Field::Network)? {
            Some(network) => network.parse_as()?,
            None => NetworkWatch::default(),
        };
        let report_interval = report_interval(&mut settings)?;
        let unreachable_action = unreachable_action(&mut settings, backoff_cap)?;
        let log = match settings.text(Field::Log)? {
            Some(log) => level(&log)?,
            None => tracing::Level::INFO,
        };
        Ok(Self {
            url,
            device_id,
            device_id_from,
            provision_file: provision_file.unwrap_or_else(|| data_dir.join("provision.toml")),
            provision_credential: None,
            data_dir,
            tls,
            backoff_base,
            backoff_cap,
            network,
            report_interval,
            unreachable_action,
            log,
        })
    }
}

fn trust(settings: &mut Settings) -> Result<Trust, ConfigError> {
    let file = settings.path(Field::CaFile)?;
    let only = settings.flag(Field::OnlyCaFile)?;
    match (file, only) {
        (None, None) => Ok(Trust::Public),
        (None, Some(only)) if *only.value() => Err(only.wrong("is set without ca_file")),
        (None, Some(_)) => Ok(Trust::Public),
        (Some(file), Some(only)) if *only.value() => Ok(Trust::Only(file)),
        (Some(file), Some(_) | None) => Ok(Trust::PublicAnd(file)),
    }
}

fn identity(settings: &mut Settings) -> Result<Option<Identity>, ConfigError> {
    match (settings.text(Field::ClientCert)?, settings.text(Field::ClientKey)?) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(Identity { certificate: certificate.value().into(), key: key.value().into() }))
        }
        (Some(certificate), None) => Err(certificate.wrong("is set without client_key")),
        (None, Some(key)) => Err(key.wrong("is set without client_cert")),
    }
}

/// The longest wait that may be configured: a day.
const LONGEST_BACKOFF: Duration = Duration::from_secs(86_400);

fn id_source(setting: &Setting<String>) -> Result<IdSource, ConfigError> {
    IdSource::ORDER.into_iter().find(|source| source.name() == setting.value()).ok_or_else(|| {
        let names = IdSource::ORDER.map(IdSource::name).join(", ");
        setting.wrong(&format!("expected one of {names}"))
    })
}

fn backoff(settings: &mut Settings) -> Result<(Duration, Duration), ConfigError> {
    let base = settings.text(Field::BackoffBase)?;
    let cap = settings.text(Field::BackoffCap)?;
    let range = (Duration::from_millis(1), LONGEST_BACKOFF, "from 1ms to 1d");
    let duration = |setting: &Option<Setting<String>>, default| match setting {
        None => Ok(default),
        Some(setting) => duration_within(setting, range),
    };
    let cap_value = duration(&cap, Config::BACKOFF_CAP)?;
    // Whoever sets only a small cap means the base as well.
    let base_value = duration(&base, Config::BACKOFF_BASE.min(cap_value))?;
    match base.or(cap) {
        Some(setting) if base_value > cap_value => Err(setting.wrong(&format!(
            "backoff_base is {base_value:?} and backoff_cap {cap_value:?}, expected a base that \
             is not above the cap"
        ))),
        Some(_) | None => Ok((base_value, cap_value)),
    }
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn report_interval(settings: &mut Settings) -> Result<Option<Duration>, ConfigError> {
    let range = (Duration::from_secs(1), YEAR, "from 1s to 365d");
    settings
        .text(Field::ReportInterval)?
        .map(|setting| duration_within(&setting, range))
        .transpose()
}

fn unreachable_action(
    settings: &mut Settings,
    backoff_cap: Duration,
) -> Result<Option<UnreachableAction>, ConfigError> {
    let after = settings.text(Field::UnreachableAfter)?;
    let Some(program) = settings.text(Field::UnreachableAction)? else {
        return match after {
            Some(after) => Err(after.wrong("is set without unreachable_action")),
            None => Ok(None),
        };
    };
    let path = PathBuf::from(program.value());
    if !path.is_absolute() {
        return Err(program.wrong("expected the absolute path of a program, without arguments"));
    }
    let range = (Duration::from_secs(1), YEAR, "from 1s to 365d");
    let after = match &after {
        None => UnreachableAction::DEFAULT_AFTER.max(backoff_cap * 2),
        Some(setting) => match duration_within(setting, range)? {
            // A device that may not even have tried again is not out of reach.
            short if short <= backoff_cap => {
                return Err(setting.wrong(&format!(
                    "is {short:?}, expected more than backoff_cap, which is {backoff_cap:?}"
                )));
            }
            after => after,
        },
    };
    Ok(Some(UnreachableAction { program: path, after }))
}

fn duration_within(
    setting: &Setting<String>,
    (least, most, range): (Duration, Duration, &str),
) -> Result<Duration, ConfigError> {
    let HumanDuration(duration) =
        setting.value().parse().map_err(|error| setting.wrong(&format!("{error} ({range})")))?;
    let error = || setting.wrong(&format!("expected a duration {range}"));
    (least..=most).contains(&duration).then_some(duration).ok_or_else(error)
}

fn level(setting: &Setting<String>) -> Result<tracing::Level, ConfigError> {
    Ok(match setting.value().as_str() {
        "error" => tracing::Level::ERROR,
        "warn" => tracing::Level::WARN,
        "info" => tracing::Level::INFO,
        "debug" => tracing::Level::DEBUG,
        "trace" => tracing::Level::TRACE,
        other => {
            let problem = format!("is {other:?}, expected error, warn, info, debug or trace");
            return Err(setting.wrong(&problem));
        }
    })
}

#[cfg(test)]
mod tests;
