//! The browser's side of a dashboard session: its cookie, and the protection against requests that
//! another site makes the browser send. The sessions themselves are in `dashboard_sessions`.

use fedecks_cloud::serve::Peer;
use http::header::{COOKIE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};
use subtle::ConstantTimeEq;

use super::problem::{Code, Problem};
use crate::dashboard_sessions::{DashboardSessions, LIFETIME, SignedIn};

/// The cookie's name on encrypted connections, the only one that counts there. The prefix makes browsers accept it
/// only from this host and only over TLS, so that neither another subdomain nor a page without TLS can set it.
const SECURE_COOKIE: &str = "__Host-fedecks";
const PLAIN_COOKIE: &str = "fedecks";

/// How many cookies of that name are tried. A browser sends several if they were set for different paths or domains.
const TRIED: usize = 8;

/// The header that only a script of the dashboard itself can send.
const CSRF: &str = "x-csrf-token";

/// The valid session of a request's cookie, if there is one. This counts as a use.
pub(super) fn find(
    sessions: &DashboardSessions,
    headers: &HeaderMap,
    peer: &Peer,
) -> Result<Option<SignedIn>, Problem> {
    for secret in cookies(headers, cookie_name(peer)).take(TRIED) {
        if let Some(found) = sessions.find(secret)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Rejects requests that another site made the browser send. Those that change something need the
/// session's CSRF token in a header.
pub(super) fn check(
    session: &SignedIn,
    method: &Method,
    headers: &HeaderMap,
    peer: &Peer,
) -> Result<(), Problem> {
    require_same_origin(headers, peer)?;
    let presented = headers.get(CSRF).map_or(&b""[..], |value| value.as_bytes());
    if method.is_safe() || presented.ct_eq(session.csrf.as_bytes()).into() {
        return Ok(());
    }
    let detail = format!("expected the header {CSRF} with the session's CSRF token");
    Err(Problem::new(Code::CrossSite, detail))
}

/// Rejects requests that a browser says come from another site. Other clients say nothing.
pub(super) fn require_same_origin(headers: &HeaderMap, peer: &Peer) -> Result<(), Problem> {
    let text = |value: Option<&HeaderValue>| {
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let same = match (text(headers.get("sec-fetch-site")), text(headers.get(ORIGIN))) {
        // `none` is a user who typed the address.
        (Some(site), _) => site == "same-origin" || site == "none",
        // Browsers do not send sec-fetch-site over plain HTTP.
        (None, Some(origin)) => {
            let Some((scheme, authority)) = origin.split_once("://") else { return cross_site() };
            // A proxy that is not trusted may serve TLS in front of an unencrypted connection.
            let is_scheme = scheme == "https" || !peer.encrypted;
            is_scheme && Some(authority) == text(headers.get(HOST)).as_deref()
        }
        (None, None) => true,
    };
    if same { Ok(()) } else { cross_site() }
}

fn cross_site() -> Result<(), Problem> {
    Err(Problem::new(Code::CrossSite, "expected a request from the dashboard's own page"))
}

/// The value of `Set-Cookie` that begins the session with this secret, or removes the cookie.
pub(super) fn cookie_header(secret: Option<&str>, peer: &Peer) -> String {
    let (value, max_age) = secret.map_or(("", 0), |secret| (secret, LIFETIME.as_secs()));
    let name = cookie_name(peer);
    let secure = if peer.encrypted { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}")
}

fn cookie_name(peer: &Peer) -> &'static str {
    if peer.encrypted { SECURE_COOKIE } else { PLAIN_COOKIE }
}

/// The values of the cookies of this name.
fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = pairs.flat_map(|value| value.split(';')).filter_map(|one| one.split_once('='));
    let ours = pairs.filter(move |(other, _)| other.trim() == name);
    ours.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookies_of_the_name_are_found_among_others() {
        for (header, expected) in [
            ("a=b; fedecks=secret", &["secret"][..]),
            ("fedecks=old; __Host-fedecks=secret;fedecks=new", &["old", "new"]),
            ("fedecks=; other=secret; fedecks", &[]),
        ] {
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(header))]);
            assert_eq!(cookies(&headers, PLAIN_COOKIE).collect::<Vec<_>>(), expected, "{header}");
        }
    }
}
