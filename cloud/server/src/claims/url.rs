//! The URL of the cloud in the text of a QR code.

/// A URL that no device takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected wss://HOST[:PORT][/PATH] (or ws:// without TLS), at most {MAX} characters")]
pub(crate) struct InvalidUrl;

/// Longer ones make a code that is hard to scan.
const MAX: usize = 512;

/// Checks what a URL looks like. The device parses it.
pub(crate) fn check_url(url: &str) -> Result<(), InvalidUrl> {
    let rest = url.strip_prefix("wss://").or_else(|| url.strip_prefix("ws://"));
    let is_one = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic());
    if url.len() <= MAX && rest.is_some_and(is_one) { Ok(()) } else { Err(InvalidUrl) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_begins_with_a_scheme_and_has_no_spaces() {
        for url in ["wss://cloud.example.com", "ws://[::1]:8080/path"] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        let long = format!("wss://{}", "x".repeat(507));
        for url in ["", "wss://", "https://x", "wss://a b", "wss://ü", "wss://a\n", &long] {
            assert_eq!(check_url(url), Err(InvalidUrl), "{url}");
        }
    }
}
