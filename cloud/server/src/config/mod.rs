//! What `fedecks-cloud` reads from its file, the environment and the command line. Each section checks
//! itself, in `sections/`; here they are put together, and compared where one depends on another.

mod environment;
mod error;
mod file;
mod keys;
mod plain;
mod secret;
mod sections;
#[cfg(test)]
mod tests;
mod values;
mod warnings;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fedecks_cloud::auth::FailedLoginLimits;
use fedecks_cloud::serve::{IpNet, ServeLimits};
use fedecks_protocol::DEFAULT_PATH;
use fedecks_store::StoreOptions;

pub(crate) use error::{ConfigError, ConfigSources};
pub(crate) use secret::{SALT_BYTES, SECRET_BYTES, Secret};
pub(crate) use sections::{
    ClientCertificates, Cluster, Database, Drain, Events, Listener, Log, LogFormat, Registration,
    Secrets, Service, Sessions, StorePlace, TlsChoice, Tokens, Webhook,
};
pub(crate) use values::parse_address;
pub(crate) use warnings::of_environment as warning_of_environment;

use crate::request_memory::RequestMemoryLimits;
use file::ConfigFile;
use sections::{PreviousKey, Tls, listeners, webhooks};

/// Everything that the commands need to know, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where the server listens, in the order of [`fedecks_cloud::serve::Peer::listener`]: `listen` first,
    /// then each `[[listener]]`.
    pub(crate) listeners: Vec<Listener>,
    /// The proxies that are trusted to report their client's address.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Path of the device socket.
    pub(crate) path: String,
    pub(crate) store: StorePlace,
    pub(crate) store_options: StoreOptions,
    /// Where the program keeps what it generates.
    pub(crate) data_dir: PathBuf,
    pub(crate) secrets: Secrets,
    pub(crate) tokens: Tokens,
    pub(crate) registration: Registration,
    pub(crate) sessions: Sessions,
    pub(crate) limits: ServeLimits,
    pub(crate) failed_logins: FailedLoginLimits,
    pub(crate) request_memory: RequestMemoryLimits,
    pub(crate) drain: Drain,
    pub(crate) events: Events,
    pub(crate) webhooks: Vec<Webhook>,
    /// Of several servers that serve together.
    pub(crate) cluster: Option<Cluster>,
    pub(crate) log: Log,
    /// Where each key was set.
    pub(crate) sources: ConfigSources,
    /// What is dangerous in the permissions of the file.
    file_warnings: Vec<String>,
}

/// What the command line sets, which overrides the file and the environment.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) self_signed: bool,
}

const DEFAULT_DATA_DIR: &str = "fedecks-data";

/// A generous allowance, in bytes, for a request's head without the authentication header.
const REST_OF_HEAD: usize = 1024;

impl Config {
    /// Reads `file`, if there is one, then the environment, then the command line. Later ones
    /// override earlier ones.
    pub(crate) fn load(
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<OsString>,
        overrides: Overrides,
    ) -> Result<Self, ConfigError> {
        let (mut table, mut sources) = file::read(file)?;
        sources.from_environment = environment::apply(&mut table, variable)?;
        let mut file: ConfigFile = table.try_into().map_err(|error: toml::de::Error| {
            sources.invalid("", plain::problem(error.message()).text)
        })?;
        if !overrides.listen.is_empty() {
            file.listen = Some(overrides.listen);
        }
        if overrides.self_signed {
            file.tls = Tls::self_signed();
        }
        file.data_dir = overrides.data_dir.or(file.data_dir);
        Self::check(file, &sources)
    }

    fn check(file: ConfigFile, sources: &ConfigSources) -> Result<Self, ConfigError> {
        let data_dir = file.data_dir.clone().unwrap_or_else(|| DEFAULT_DATA_DIR.into());
        let (store, password) = (file.store.clone(), file.store_password_file.clone());
        let store = StorePlace::check(store, password, &data_dir, sources)?;
        let file_warnings = warnings::of_file(&file, store.has_password(), sources);
        let ConfigFile { listener, trusted_proxies, sessions, limits, .. } = file;
        if listener.iter().any(|listener| listener.proxy_protocol) && trusted_proxies.is_empty() {
            let problem = "trusted_proxies is empty; list the load balancers of the listener with \
                           proxy_protocol";
            return Err(sources.invalid("trusted_proxies", problem));
        }
        sessions.check(sources)?;
        file.tokens.check(sources)?;
        if sessions.max_header + REST_OF_HEAD > limits.request_head {
            return Err(sources.conflict(
                ("limits.request_head", limits.request_head),
                &format!("at least {REST_OF_HEAD} more than"),
                ("sessions.max_header", sessions.max_header),
            ));
        }
        let cluster = file.cluster.map(|keys| Cluster::check(keys, &store, sources)).transpose()?;
        let key = PreviousKey {
            secret: file.secret,
            secret_file: file.secret_file,
            salt: file.salt,
            salt_file: file.salt_file,
        };
        Ok(Self {
            listeners: listeners::check(file.listen, file.tls, listener, sources)?,
            trusted_proxies,
            path: file.path.unwrap_or_else(|| DEFAULT_PATH.into()),
            store,
            store_options: StoreOptions::default().with(|it| it.audit = file.audit.limits()),
            secrets: Secrets::check(key, file.previous_key, &data_dir, sources)?,
            data_dir,
            tokens: file.tokens,
            registration: file.registration,
            limits: limits.serve_limits(),
            failed_logins: limits.failed_logins(),
            request_memory: limits.request_memory(),
            sessions,
            drain: file.drain,
            events: file.events,
            webhooks: webhooks::check(file.webhook, sources)?,
            cluster,
            log: file.log,
            sources: sources.clone(),
            file_warnings,
        })
    }

    /// What belongs to the server's user: the file of the store if it is in one, and the data directory.
    pub(crate) fn own_files(&self) -> Vec<&Path> {
        self.store.file().into_iter().chain([&*self.data_dir]).collect()
    }

    /// What is dangerous in the configuration, or in the permissions of the files that it names.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let of_network =
            warnings::of_network(&self.listeners, &self.trusted_proxies, &self.webhooks);
        let of_registration = warnings::of_registration(&self.registration);
        [
            &*self.file_warnings,
            &warnings::of_secret_files(&self.secret_files()),
            &of_network,
            &of_registration,
        ]
        .concat()
    }

    /// What keeps the server from starting if it runs as another user than root.
    pub(crate) fn warnings_of_root(&self) -> Vec<String> {
        warnings::of_root(&self.secret_files())
    }

    /// The files with secrets that the configuration names.
    fn secret_files(&self) -> BTreeSet<&Path> {
        let keys = self.listeners.iter().filter_map(|listener| match &listener.tls {
            TlsChoice::Files { key, .. } => Some(key.as_path()),
            TlsChoice::Off | TlsChoice::SelfSigned => None,
        });
        let of_webhooks = self.webhooks.iter().filter_map(|webhook| webhook.secret_file.as_deref());
        let of_store = self.store.password_file();
        let of_cluster = self.cluster.iter().flat_map(Cluster::secret_files);
        let files = keys.chain(self.secrets.files()).chain(of_webhooks).chain(of_store);
        files.chain(of_cluster).collect()
    }
}
