//! Where NATS is, and how to log in there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// How a server reaches the others by NATS. `Debug` does not show secrets.
#[derive(Clone)]
#[non_exhaustive]
pub struct NatsOptions {
    /// One or more URLs of one NATS cluster, separated by commas: `nats://host:4222`, or `tls://host:4222` to require
    /// TLS. Without user and password.
    pub urls: String,
    /// The user, with [`NatsOptions::password`].
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// A token, instead of a user.
    pub token: Option<String>,
    /// A file with a user's JWT and its key, instead of a user.
    pub credentials_file: Option<PathBuf>,
    /// The authorities that the server's certificate may be from, in PEM, instead of the public ones. TLS is required
    /// then.
    pub ca_file: Option<PathBuf>,
    /// The first part of all subjects: `fedecks`. Installations that share a NATS cluster need different ones.
    pub prefix: String,
    /// How long what takes.
    pub times: Times,
}

/// How long what takes between nodes. All nodes need the same times.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Times {
    /// Between two heartbeats of a node: 2 s.
    pub heartbeat: Duration,
    /// Without any sign of life, after which a node is lost: 10 s.
    pub lost: Duration,
    /// For which changes of presence are collected: 5 ms.
    pub batch: Duration,
    /// Without the next part of a snapshot, after which it is asked for again: 2 s.
    pub resync: Duration,
    /// For a node to answer a call, and for a device to appear where it was not found: 2 s.
    pub call: Duration,
}

/// Why options are not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// A URL is not one of a NATS server.
    #[error("\"{url}\" is not the URL of a NATS server: {reason}")]
    Url {
        /// The URL, without what may be secret.
        url: String,
        /// What is expected.
        reason: String,
    },
    /// The prefix is not usable in subjects.
    #[error("the prefix \"{0}\" is not 1 to 64 of the characters a-z, A-Z, 0-9, - and _")]
    Prefix(String),
    /// More than one way to log in, or half of one.
    #[error("{0}")]
    Login(&'static str),
    /// A file cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The client cannot be made.
    #[error("cannot connect to NATS: {0}")]
    Client(String),
}

impl NatsOptions {
    /// With these URLs, separated by commas, without a login.
    pub fn new(urls: impl Into<String>) -> Self {
        Self {
            urls: urls.into(),
            user: None,
            password: None,
            token: None,
            credentials_file: None,
            ca_file: None,
            prefix: "fedecks".to_owned(),
            times: Times::default(),
        }
    }

    pub(crate) fn servers(&self) -> Result<Vec<ServerAddr>, NatsError> {
        let urls = self.urls.split(',').map(str::trim);
        urls.map(server).collect()
    }

    pub(crate) fn check_prefix(&self) -> Result<(), NatsError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let fits = (1..=64).contains(&self.prefix.len()) && self.prefix.chars().all(allowed);
        fits.then_some(()).ok_or_else(|| NatsError::Prefix(self.prefix.clone()))
    }

    pub(crate) fn client(&self) -> Result<ConnectOptions, NatsError> {
        let options = ConnectOptions::new();
        let logins = [self.user.is_some(), self.token.is_some(), self.credentials_file.is_some()];
        if logins.into_iter().filter(|is_set| *is_set).count() > 1 {
            return Err(NatsError::Login(
                "NATS takes a user, a token or a credentials file: only one",
            ));
        }
        let options = match (&self.user, &self.password) {
            (Some(user), Some(password)) => {
                options.user_and_password(user.clone(), password.clone())
            }
            (None, None) => options,
            _ => return Err(NatsError::Login("a user of NATS needs a password, and the reverse")),
        };
        let options = match &self.token {
            Some(token) => options.token(token.clone()),
            None => options,
        };
        let mut options = match &self.credentials_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| file(path, &error))?;
                options.credentials(&text).map_err(|error| file(path, &error))?
            }
            None => options,
        };
        options = options.tls_client_config(self.tls()?);
        Ok(if self.ca_file.is_some() { options.require_tls(true) } else { options })
    }

    fn tls(&self) -> Result<ClientConfig, NatsError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.ca_file {
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| file(path, &error))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| file(path, &error))?;
                roots.add(certificate).map_err(|error| file(path, &error))?;
            }
            if roots.is_empty() {
                return Err(file(path, &"it has no certificate"));
            }
        } else {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| NatsError::Client(error.to_string()))?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
}

fn file(path: &Path, reason: &dyn fmt::Display) -> NatsError {
    NatsError::File { path: path.to_owned(), reason: reason.to_string() }
}

fn server(url: &str) -> Result<ServerAddr, NatsError> {
    // What is before an @ may be a password.
    let shown = url.rsplit_once('@').map_or(url, |(_, shown)| shown);
    let wrong = |reason: &str| NatsError::Url { url: shown.to_owned(), reason: reason.to_owned() };
    if !url.starts_with("nats://") && !url.starts_with("tls://") {
        return Err(wrong("it has to begin with nats:// or tls://"));
    }
    if shown != url {
        return Err(wrong("user and password have their own options"));
    }
    let server: ServerAddr =
        url.parse().map_err(|error: std::io::Error| wrong(&error.to_string()))?;
    if server.host().is_empty() {
        return Err(wrong("it has no host"));
    }
    Ok(server)
}

impl Default for Times {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(2),
            lost: Duration::from_secs(10),
            batch: Duration::from_millis(5),
            resync: Duration::from_secs(2),
            call: Duration::from_secs(2),
        }
    }
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "…");
        // One that is refused later may contain a password.
        let url = |url: &'_ str| url.rsplit('@').next().unwrap_or_default().trim().to_owned();
        f.debug_struct("NatsOptions")
            .field("urls", &self.urls.split(',').map(url).collect::<Vec<_>>())
            .field("user", &self.user)
            .field("password", &hidden(&self.password))
            .field("token", &hidden(&self.token))
            .field("credentials_file", &self.credentials_file)
            .field("ca_file", &self.ca_file)
            .field("prefix", &self.prefix)
            .field("times", &self.times)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_secrets() {
        let mut options = NatsOptions::new("nats://me:secret-1@a,tls://b");
        options.password = Some("secret-2".to_owned());
        options.token = Some("secret-3".to_owned());
        let shown = format!("{options:?}");
        assert!(!shown.contains("secret") && shown.contains("tls://b"), "{shown}");
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        let refused = |change: &dyn Fn(&mut NatsOptions)| {
            let mut options = NatsOptions::new("nats://localhost:4222, tls://b");
            change(&mut options);
            let servers = options.servers().map(drop);
            servers.and_then(|()| options.check_prefix()).and_then(|()| options.client().map(drop))
        };
        refused(&|_| ()).unwrap();
        type Case<'a> = (&'a str, &'a dyn Fn(&mut NatsOptions));
        let cases: [Case<'_>; 9] = [
            ("begin with nats://", &|options| options.urls = "localhost:4222".to_owned()),
            ("begin with nats://", &|options| options.urls = "nats://a,".to_owned()),
            ("\"host\" is not", &|options| options.urls = "nats://a:secret@host".to_owned()),
            ("the prefix", &|options| options.prefix = "a.b".to_owned()),
            ("the prefix", &|options| options.prefix = String::new()),
            ("needs a password", &|options| options.user = Some("me".to_owned())),
            ("only one", &|options| {
                (options.user, options.password) = (Some("me".to_owned()), Some("x".to_owned()));
                options.token = Some("x".to_owned());
            }),
            ("/nowhere", &|options| options.credentials_file = Some("/nowhere".into())),
            ("/dev/null: it has no", &|options| options.ca_file = Some("/dev/null".into())),
        ];
        for (expected, change) in cases {
            let error = refused(change).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }
}
