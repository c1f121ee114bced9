//! The browser's side of a dashboard session: its cookie, and the protection against requests that
//! another site makes the browser send. The sessions themselves are in `dashboard_sessions`.

use http::header::{COOKIE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};
use subtle::ConstantTimeEq;

use super::problem::{Code, Problem};
use crate::dashboard_sessions::{DashboardSessions, LIFETIME, SignedIn};

/// The cookie's name on encrypted connections. The prefix makes browsers accept it from this host only.
const SECURE_COOKIE: &str = "__Host-fedecks";
const PLAIN_COOKIE: &str = "fedecks";

/// The header that only a script of the dashboard itself can send.
const CSRF: &str = "x-csrf-token";

/// The valid session of a request's cookie, if there is one. This counts as a use.
pub(super) fn find(
    sessions: &DashboardSessions,
    headers: &HeaderMap,
) -> Result<Option<SignedIn>, Problem> {
    cookie(headers).map_or(Ok(None), |secret| Ok(sessions.find(secret)?))
}

/// Rejects requests that another site made the browser send. Those that change something need the
/// session's CSRF token in a header.
pub(super) fn check(
    session: &SignedIn,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    require_same_origin(headers)?;
    let presented = headers.get(CSRF).map_or(&b""[..], |value| value.as_bytes());
    if method.is_safe() || presented.ct_eq(session.csrf.as_bytes()).into() {
        return Ok(());
    }
    let detail = format!("expected the header {CSRF} with the session's CSRF token");
    Err(Problem::new(Code::CrossSite, detail))
}

/// Rejects requests that a browser says come from another site. Other clients say nothing.
pub(super) fn require_same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |value: Option<&HeaderValue>| {
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let same = match (text(headers.get("sec-fetch-site")), text(headers.get(ORIGIN))) {
        // `none` is a user who typed the address.
        (Some(site), _) => site == "same-origin" || site == "none",
        // Browsers do not send sec-fetch-site over plain HTTP.
        (None, Some(origin)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some() && authority == text(headers.get(HOST)).as_deref()
        }
        (None, None) => true,
    };
    let detail = "expected a request from the dashboard's own page";
    if same { Ok(()) } else { Err(Problem::new(Code::CrossSite, detail)) }
}

/// The value of `Set-Cookie` that begins the session with this secret, or removes the cookie.
pub(super) fn cookie_header(secret: Option<&str>, encrypted: bool) -> String {
    let (value, max_age) = secret.map_or(("", 0), |secret| (secret, LIFETIME.as_secs()));
    let (name, secure) = if encrypted { (SECURE_COOKIE, "; Secure") } else { (PLAIN_COOKIE, "") };
    format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}")
}

/// The value of the session's cookie, if there is one.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|value| value.split(';')).filter_map(|one| one.split_once('='));
    pairs.find_map(|(name, value)| {
        let ours = [SECURE_COOKIE, PLAIN_COOKIE].contains(&name.trim());
        (ours && !value.trim().is_empty()).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        for (header, expected) in [
            ("a=b; fedecks=secret", Some("secret")),
            ("__Host-fedecks=secret", Some("secret")),
            ("fedecks=; other=secret", None),
        ] {
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(header))]);
            assert_eq!(cookie(&headers), expected, "{header}");
        }
    }
}
