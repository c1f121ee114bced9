//! Where the database is: the URL, taken apart, and as it is shown, without the password.

use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::error::StoreError;

/// A URL that was read.
pub(super) struct Location {
    pub(super) config: Config,
    pub(super) encryption: Encryption,
    /// Without the password.
    pub(super) shown: String,
}

/// Whether the connections are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Encryption {
    No,
    /// And the server's certificate is verified, by the certificates in this file.
    Verified(PathBuf),
}

/// The certificates that a Debian system trusts.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What is shown of a URL that cannot be read.
const UNKNOWN: &str = "postgres://";

/// What has a meaning in a URL.
const ESCAPED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'/').add(b'?').add(b'#').add(b'@').add(b':').add(b'%');

impl Location {
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let invalid = |why: &str| StoreError::failed(UNKNOWN, "open", why.to_owned());
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(invalid("the URL does not begin with postgres://"));
        }
        // An @ in the password is escaped.
        let query =
            url[url.rfind('@').unwrap_or(0)..].find('?').map(|at| at + url.rfind('@').unwrap_or(0));
        let (base, query) = query.map_or((url, ""), |at| (&url[..at], &url[at + 1..]));
        let (mut mode, mut certificates, mut others) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => certificates = Some(value),
                _ => others.push(pair),
            }
        }
        let rest = format!("{base}?{}", others.join("&"));
        let config =
            Config::from_str(&rest).map_err(|error| invalid(&super::failure::text(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(invalid("the URL has no host"));
        }
        let has_at = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
        if config.get_hosts().iter().any(has_at) {
            return Err(invalid("an @ in the user or the password has to be written as %40"));
        }
        let certificates = match certificates {
            None | Some("system") => PathBuf::from(SYSTEM_CERTIFICATES),
            Some(path) => {
                let path = percent_decode_str(path).decode_utf8();
                PathBuf::from(path.map_err(|_| invalid("sslrootcert is not UTF-8"))?.as_ref())
            }
        };
        let encryption = match mode {
            Some("disable") => Encryption::No,
            None if config.get_hostaddrs().is_empty() && config.get_hosts().iter().all(is_here) => {
                Encryption::No
            }
            None | Some("require" | "verify-full") => Encryption::Verified(certificates),
            Some(_) => {
                return Err(invalid(
                    "sslmode is disable, require or verify-full; the last two both verify the certificate",
                ));
            }
        };
        let shown = shown(&config);
        Ok(Self { config, encryption, shown })
    }
}

/// Whether what is sent to the host does not leave this machine.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

fn shown(config: &Config) -> String {
    let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let mut hosts = Vec::new();
    for (place, host) in config.get_hosts().iter().enumerate() {
        let host = match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
            Host::Tcp(name) => escaped(name),
            Host::Unix(path) => escaped(&path.to_string_lossy()),
        };
        let ports = config.get_ports();
        let port = ports.get(place).or_else(|| ports.first().filter(|_| ports.len() == 1));
        hosts.push(port.map_or_else(|| host.clone(), |port| format!("{host}:{port}")));
    }
    let user = config.get_user().map(|user| format!("{}@", escaped(user))).unwrap_or_default();
    let database =
        config.get_dbname().map(|name| format!("/{}", escaped(name))).unwrap_or_default();
    format!("postgres://{user}{}{database}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system() -> Encryption {
        Encryption::Verified(PathBuf::from(SYSTEM_CERTIFICATES))
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown, encryption) in [
            (
                "postgres://me:secret@127.0.0.1:5433/fedecks",
                "postgres://me@127.0.0.1:5433/fedecks",
                Encryption::No,
            ),
            ("postgresql://me:secret@db.example/x", "postgres://me@db.example:5432/x", system()),
            (
                "postgres://me:se%40c%3Fret@db.example/x?sslmode=disable",
                "postgres://me@db.example:5432/x",
                Encryption::No,
            ),
            (
                "postgres://me@db.example/x?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem&connect_timeout=2",
                "postgres://me@db.example:5432/x",
                Encryption::Verified("/etc/ca.pem".into()),
            ),
            (
                "postgres://me:secret@a,b:5433/x?password=secret",
                "postgres://me@a:5432,b:5433/x",
                system(),
            ),
            (
                "postgres://me@%2Frun%2Fpostgresql/x",
                "postgres://me@%2Frun%2Fpostgresql:5432/x",
                Encryption::No,
            ),
            (
                "postgres://me:secret@localhost/x?hostaddr=192.0.2.1",
                "postgres://me@localhost:5432/x",
                system(),
            ),
            (
                "postgres://me@[::1]:5433/x?sslmode=require&sslrootcert=system",
                "postgres://me@[::1]:5433/x",
                system(),
            ),
        ] {
            let location = Location::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((&location.shown[..], location.encryption), (shown, encryption), "{url}");
            assert!(!location.shown.contains("sec"), "{url}");
        }
    }

    #[test]
    fn a_wrong_url_is_explained_without_its_password() {
        for (url, why) in [
            ("mysql://me:secret@host/x", "postgres://"),
            (
                "postgres://me:secret@host/x?sslmode=prefer",
                "sslmode is disable, require or verify-full",
            ),
            ("postgres://me:secret@host/x?secretive=1", "unknown"),
            ("postgres://me:top@secret@host/x", "%40"),
            ("postgres://me:secret@/x", "host"),
            ("postgres://me:secret@host:port/x", "port"),
            ("postgres://me:secret@host/x?sslrootcert=%FF", "UTF-8"),
        ] {
            let error =
                Location::parse(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(why), "{url}: {error}");
            assert!(!error.contains("secret@"), "{url}: {error}");
        }
    }
}
