//! `[cluster]`: several servers that serve together, connected by NATS.

use std::path::{Path, PathBuf};

use http::Uri;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::secrets::Source;
use super::store::StorePlace;
use crate::config::error::{ConfigError, ConfigSources};
use crate::config::secret::Secret;
use crate::config::values::parsed;

/// The section as it is in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClusterKeys {
    #[serde(deserialize_with = "urls")]
    nats: Vec<String>,
    nats_user: Option<String>,
    nats_password_file: Option<PathBuf>,
    nats_credentials_file: Option<PathBuf>,
    nats_ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "prefix")]
    prefix: Option<String>,
    #[serde(deserialize_with = "name")]
    name: Option<String>,
}

/// How this server works together with others.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The servers of NATS, of which any will do.
    pub(crate) nats: Vec<String>,
    pub(crate) nats_user: Option<String>,
    password: Option<Source>,
    pub(crate) nats_credentials_file: Option<PathBuf>,
    /// Authorities that are trusted for the certificate of NATS instead of the public ones.
    pub(crate) nats_ca_file: Option<PathBuf>,
    /// What the subjects on NATS begin with, which is the same for all servers of an installation and for no other one.
    pub(crate) prefix: String,
    /// What this server is called; by default as its machine.
    pub(crate) name: Option<String>,
    sources: ConfigSources,
}

const DEFAULT_PREFIX: &str = "fedecks";

/// How the URL of a server of NATS begins.
const SCHEMES: [&str; 2] = ["nats", "tls"];

impl Cluster {
    pub(crate) fn check(
        keys: ClusterKeys,
        store: &StorePlace,
        sources: &ConfigSources,
    ) -> Result<Self, ConfigError> {
        if !cfg!(feature = "cluster") {
            return Err(not_built(sources));
        }
        if keys.nats.is_empty() {
            let problem = "cluster has no nats, such as \"nats://192.0.2.20:4222\"";
            return Err(sources.invalid("cluster", problem));
        }
        if store.file().is_some() {
            let problem = "cluster needs the store in a PostgreSQL database, which all servers share: set store to \
                           its URL, which begins with postgres://";
            return Err(sources.invalid("cluster", problem));
        }
        let password =
            Source::check(None, keys.nats_password_file, "cluster.", "nats_password", sources)?;
        if keys.nats_user.is_some() != password.is_some() {
            let (set, unset) = match password {
                Some(_) => ("nats_password_file", "nats_user"),
                None => ("nats_user", "nats_password_file"),
            };
            let problem = format!("cluster.{set} is set but cluster.{unset} is not; set both");
            return Err(sources.invalid(&format!("cluster.{set}"), problem));
        }
        if password.is_some() && keys.nats_credentials_file.is_some() {
            let problem = "cluster.nats_credentials_file and cluster.nats_user are both set; set only one of them";
            return Err(sources.invalid("cluster.nats_credentials_file", problem));
        }
        Ok(Self {
            nats: keys.nats,
            nats_user: keys.nats_user,
            password,
            nats_credentials_file: keys.nats_credentials_file,
            nats_ca_file: keys.nats_ca_file,
            prefix: keys.prefix.unwrap_or_else(|| DEFAULT_PREFIX.to_owned()),
            name: keys.name,
            sources: sources.clone(),
        })
    }

    #[cfg(not(feature = "cluster"))]
    pub(crate) fn not_built(&self) -> ConfigError {
        not_built(&self.sources)
    }

    /// The user and the password for NATS, which is read now.
    #[cfg_attr(not(feature = "cluster"), allow(dead_code, reason = "needs NATS"))]
    pub(crate) fn login(&self) -> Result<Option<(String, Secret)>, ConfigError> {
        let Some((user, source)) = self.nats_user.as_ref().zip(self.password.as_ref()) else {
            return Ok(None);
        };
        Ok(Some((user.clone(), source.read(&self.sources)?)))
    }

    /// The files with secrets.
    pub(crate) fn secret_files(&self) -> impl Iterator<Item = &Path> {
        let password = match &self.password {
            Some(Source::File { file, .. }) => Some(file.as_path()),
            _ => None,
        };
        password.into_iter().chain(self.nats_credentials_file.as_deref())
    }
}

/// The program cannot do it.
fn not_built(sources: &ConfigSources) -> ConfigError {
    let problem = "cluster: this program was built without it (the feature `cluster`)";
    sources.invalid("cluster", problem)
}

fn urls<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    let expected =
        "must be nats://HOST:PORT or tls://HOST:PORT, or a list of them, without a user name";
    let urls = match OneOrMore::deserialize(d) {
        Ok(OneOrMore::One(url)) => vec![url],
        Ok(OneOrMore::More(urls)) => urls,
        Err(_) => return Err(Error::custom(expected)),
    };
    let is_usable = |url: &String| {
        url.parse::<Uri>().is_ok_and(|url| {
            let has_user = url.authority().is_some_and(|it| it.as_str().contains('@'));
            let is_server = url.host().is_some_and(|host| !host.is_empty()) && !has_user;
            let has_path = url.path_and_query().is_some_and(|rest| rest.as_str() != "/");
            url.scheme_str().is_some_and(|it| SCHEMES.contains(&it)) && is_server && !has_path
        })
    };
    // The error does not show the URL, which may have a password in it.
    if urls.is_empty() || !urls.iter().all(is_usable) {
        return Err(Error::custom(expected));
    }
    Ok(urls)
}

fn prefix<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let is_prefix = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(is_allowed);
    let expected = "must be 1 to 64 letters, digits, '-' and '_'";
    parsed(d, |text| is_prefix(text).then(|| Some(text.to_owned())), expected)
}

fn name<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let is_name =
        |text: &str| (1..=64).contains(&text.chars().count()) && !text.contains(char::is_control);
    let expected = "must be 1 to 64 characters";
    parsed(d, |text| is_name(text).then(|| Some(text.to_owned())), expected)
}
