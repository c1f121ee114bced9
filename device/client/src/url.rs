//! The cloud's URL: parsing, and its form in the upgrade request.

use std::fmt;
use std::str::FromStr;

use fedecks_protocol::DEFAULT_PATH;
use rustls_pki_types::ServerName;
use tokio_tungstenite::tungstenite::http::Uri;

/// The cloud's URL: `wss://` (TLS) or `ws://` (unencrypted), a host, and optionally a port and a path.
///
/// ```
/// use fedecks_device::CloudUrl;
/// use fedecks_device::error::InvalidUrl;
///
/// let url: CloudUrl = "wss://cloud.example".parse()?;
/// assert!(url.is_secure());
/// assert_eq!("https://cloud.example".parse::<CloudUrl>(), Err(InvalidUrl::Scheme));
/// # Ok::<(), InvalidUrl>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudUrl {
    secure: bool,
    host: ServerName<'static>,
    port: u16,
    path: String,
}

/// Why a text is not a [`CloudUrl`]. Never quotes the text, which may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// It does not have the form of a URL.
    #[error("not a valid URL; expected wss://HOST[:PORT][/PATH]")]
    Form,
    /// The scheme is neither `wss` nor `ws`.
    #[error("the URL must start with wss:// (ws:// for unencrypted tests)")]
    Scheme,
    /// There is a user name or a password in it.
    #[error(
        "the URL must not contain a user name or a password: the device logs in with credentials and \
         keeps a token"
    )]
    UserInfo,
    /// There is no host.
    #[error("the URL has no host; expected wss://HOST[:PORT][/PATH]")]
    NoHost,
    /// The host is neither a DNS name nor an IP address.
    #[error("the URL's host is neither a DNS name nor an IP address (IPv6 in brackets)")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the URL's port is not a number from 1 to 65535")]
    Port,
    /// There is a query or a fragment.
    #[error("the URL must not have a query or a fragment (? or #)")]
    Query,
}

impl CloudUrl {
    /// Whether TLS is used.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host to connect to and to verify.
    pub(crate) fn host(&self) -> &ServerName<'static> {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The `Host` header and the path of the upgrade request.
    pub(crate) fn host_and_path(&self) -> (String, &str) {
        let host = self.host.to_str();
        let is_v6 = matches!(&self.host, ServerName::IpAddress(ip) if is_v6(ip));
        let host = if is_v6 { format!("[{host}]") } else { host.into_owned() };
        let host = if self.port == default_port(self.secure) {
            host
        } else {
            format!("{host}:{}", self.port)
        };
        (host, &self.path)
    }
}

impl FromStr for CloudUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        // The parser drops a fragment silently.
        if text.contains('#') {
            return Err(InvalidUrl::Query);
        }
        let rest = text.strip_prefix("wss://").or_else(|| text.strip_prefix("ws://"));
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(InvalidUrl::NoHost);
        }
        let uri = Uri::from_str(text).map_err(|_| InvalidUrl::Form)?;
        let secure = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            Some(_) => return Err(InvalidUrl::Scheme),
            None => return Err(InvalidUrl::Form),
        };
        let authority = uri.authority().ok_or(InvalidUrl::Form)?.as_str();
        if authority.contains('@') {
            return Err(InvalidUrl::UserInfo);
        }
        if uri.query().is_some() {
            return Err(InvalidUrl::Query);
        }
        let host = uri.host().ok_or(InvalidUrl::Host)?;
        let port = match authority.strip_prefix(host) {
            Some("") => default_port(secure),
            Some(rest) => rest
                .strip_prefix(':')
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|port| *port != 0)
                .ok_or(InvalidUrl::Port)?,
            None => return Err(InvalidUrl::Form),
        };
        let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let name = ServerName::try_from(literal.unwrap_or(host)).map_err(|_| InvalidUrl::Host)?;
        if literal.is_some() != matches!(&name, ServerName::IpAddress(ip) if is_v6(ip)) {
            return Err(InvalidUrl::Host);
        }
        let path = match uri.path() {
            "" | "/" => DEFAULT_PATH,
            path => path,
        };
        Ok(Self { secure, host: name.to_owned(), port, path: path.to_owned() })
    }
}

impl fmt::Display for CloudUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        let (host, path) = self.host_and_path();
        write!(f, "{scheme}://{host}{path}")
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

fn is_v6(address: &rustls_pki_types::IpAddr) -> bool {
    matches!(address, rustls_pki_types::IpAddr::V6(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_and_optionally_a_port_and_a_path() {
        for (text, uri, host) in [
            ("wss://cloud.example", "wss://cloud.example/fedecks/websocket", "cloud.example"),
            ("wss://cloud.example/", "wss://cloud.example/fedecks/websocket", "cloud.example"),
            ("wss://cloud.example:443/a", "wss://cloud.example/a", "cloud.example"),
            ("ws://cloud.example:80", "ws://cloud.example/fedecks/websocket", "cloud.example"),
            ("ws://cloud.example:443/a/b", "ws://cloud.example:443/a/b", "cloud.example:443"),
            ("ws://10.0.2.2:8080/a", "ws://10.0.2.2:8080/a", "10.0.2.2:8080"),
            ("wss://[::1]:4443/a", "wss://[::1]:4443/a", "[::1]:4443"),
            ("wss://[fd00::1]/a", "wss://[fd00::1]/a", "[fd00::1]"),
        ] {
            let url: CloudUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.host_and_path().0.as_str()), (uri, host));
            assert_eq!(url.to_string().parse::<CloudUrl>().unwrap(), url);
            assert_eq!(url.is_secure(), text.starts_with("wss"));
        }
        assert_eq!("wss://a".parse::<CloudUrl>().unwrap().port(), 443);
        assert_eq!("ws://a".parse::<CloudUrl>().unwrap().port(), 80);
    }

    #[test]
    fn an_invalid_url_is_refused_with_the_reason() {
        let not_urls = ["", "cloud.example", "cloud.example:443", "/a", "wss:cloud", "wss://a b"];
        for (error, texts) in [
            (InvalidUrl::Form, &not_urls[..]),
            (InvalidUrl::NoHost, &["wss://", "ws:///a"]),
            (InvalidUrl::Scheme, &["https://cloud.example"]),
            (InvalidUrl::UserInfo, &["wss://me:secret@cloud.example", "wss://me@cloud.example"]),
            (InvalidUrl::Query, &["wss://cloud.example/a?b=c", "wss://cloud.example/a#b"]),
            (InvalidUrl::Port, &["wss://a:0", "wss://a:65536", "wss://a:", "wss://a:+1"]),
            (InvalidUrl::Host, &["wss://-bad-", "wss://[10.0.0.1]"]),
        ] {
            for text in texts {
                assert_eq!(text.parse::<CloudUrl>(), Err(error), "{text:?}");
            }
        }
    }
}
