//! The head of the response to an upgrade request: where it ends, and whether it is the upgrade (RFC 6455,
//! section 4.1), a refusal, or neither. It does not read it.

use std::time::Duration;

use fedecks_protocol::{Dialect, REFUSAL_HEADER, Refusal};
use httparse::Header;

use super::error::DialError;

/// Maximum number of bytes before the WebSocket, in all heads together: of interim responses and of the response.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// Maximum number of header lines.
const MAX_LINES: usize = 124;

/// Maximum number of characters of a location that is repeated in an error.
const MAX_LOCATION: usize = 120;

/// What the server must prove to have understood.
pub(super) struct Expected<'a> {
    /// The value of `Sec-WebSocket-Accept`.
    pub(super) accept: &'a str,
    pub(super) dialect: Dialect,
}

/// What complete head the bytes begin with.
#[derive(Debug, PartialEq)]
pub(super) enum Head {
    /// None yet.
    Incomplete,
    /// That of an interim response (RFC 9110, section 15.2), which another one follows after this many bytes.
    Interim(usize),
    /// The WebSocket begins after this many bytes.
    Upgraded(usize),
}

impl Head {
    /// Interprets the bytes that have been received. Those before `searched` contain no complete head.
    pub(super) fn read(
        bytes: &[u8],
        searched: usize,
        expected: &Expected<'_>,
    ) -> Result<Self, DialError> {
        let begin = bytes.len().min(5);
        if bytes[..begin] != b"HTTP/"[..begin] {
            // An alert of TLS.
            if bytes.starts_with(&[0x15, 3]) {
                return failed(
                    "the server speaks TLS at this port: the url must begin with wss://".into(),
                );
            }
            let shown = bytes[..bytes.len().min(24)].escape_ascii();
            return failed(format!("the response is not HTTP, it begins with \"{shown}\""));
        }
        if !has_end(&bytes[searched.saturating_sub(2)..]) {
            return Ok(Self::Incomplete);
        }
        let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
        let mut response = httparse::Response::new(&mut lines);
        let size = match response.parse(bytes) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) => return Ok(Self::Incomplete),
            Err(httparse::Error::TooManyHeaders) => {
                return failed(format!("the response has more than {MAX_LINES} header lines"));
            }
            Err(error) => return failed(format!("the response is not valid HTTP: {error}")),
        };
        let status = response.code.unwrap_or_default();
        let headers = Headers(response.headers);
        match (response.version, status) {
            (Some(1), 101) => {
                headers.check_upgrade(expected).map_err(DialError::Upgrade)?;
                Ok(Self::Upgraded(size))
            }
            (Some(1), 100..=199) => Ok(Self::Interim(size)),
            // Something in between answers in a version that has neither upgrades nor our refusals.
            (_, 101) => failed("the upgrade is in HTTP/1.0; expected HTTP/1.1".to_owned()),
            (Some(1), _) => Err(headers.rejection(status)),
            _ => Err(DialError::Http { status, location: headers.location() }),
        }
    }
}

fn failed<T>(problem: String) -> Result<T, DialError> {
    Err(DialError::Upgrade(problem))
}

/// Whether there is an empty line.
fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|end| end == b"\n\n") || bytes.windows(3).any(|end| end == b"\n\r\n")
}

struct Headers<'a>(&'a [Header<'a>]);

impl<'a> Headers<'a> {
    /// The values of all lines with this name.
    fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |line| line.name.eq_ignore_ascii_case(name))
            .map(|line| line.value)
    }

    /// The value of the first line with this name, if it is text.
    fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.values(name).next()?).ok()
    }

    /// Whether the token is in the comma-separated lists of all lines with this name.
    fn has_token(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether there is a line with this name, and all of them have this value.
    fn is(&self, name: &str, value: &str) -> bool {
        let mut values = self.values(name).peekable();
        values.peek().is_some() && values.all(|found| found == value.as_bytes())
    }

    /// The numbers are those of the list in RFC 6455, section 4.1.
    fn check_upgrade(&self, expected: &Expected<'_>) -> Result<(), String> {
        let dialect = expected.dialect.subprotocol();
        // 2 and 3. Proxies add their own tokens to both lists.
        for (name, token) in [("Upgrade", "websocket"), ("Connection", "Upgrade")] {
            if !self.has_token(name, token) {
                return Err(format!(
                    "the response has no \"{name}: {token}\"; a proxy may not support WebSockets"
                ));
            }
        }
        // 4.
        if !self.is("Sec-WebSocket-Accept", expected.accept) {
            return Err("Sec-WebSocket-Accept is not the response to this request".to_owned());
        }
        // 5. None was offered.
        if self.values("Sec-WebSocket-Extensions").any(|value| !value.is_empty()) {
            return Err("the response selects an extension, but none was offered".to_owned());
        }
        // 6.
        if !self.is("Sec-WebSocket-Protocol", dialect) {
            return Err(format!("the response has no \"Sec-WebSocket-Protocol: {dialect}\""));
        }
        Ok(())
    }

    fn rejection(&self, status: u16) -> DialError {
        match Refusal::from_response(status, self.text(REFUSAL_HEADER)) {
            Some(refusal) => {
                // The other form, a date, would need a correct clock.
                let retry_after = self
                    .text("Retry-After")
                    .and_then(|seconds| seconds.trim().parse().ok())
                    .map(Duration::from_secs);
                DialError::Refused { refusal, retry_after }
            }
            None => DialError::Http { status, location: self.location() },
        }
    }

    /// Where a redirect leads, without a query, which may contain secrets.
    fn location(&self) -> Option<String> {
        let value = self.values("Location").next()?;
        let value = value.split(|byte| matches!(byte, b'?' | b'#')).next()?;
        Some(value[..value.len().min(MAX_LOCATION)].escape_ascii().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    const EXPECTED: Expected<'_> = Expected { accept: ACCEPT, dialect: Dialect::Bincode };

    fn head(lines: &str) -> String {
        format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n")
    }

    fn good() -> String {
        head(&format!(
            "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\
             Sec-WebSocket-Protocol: fedecks.v1.bincode\r\n"
        ))
    }

    fn error(head: &str) -> String {
        Head::read(head.as_bytes(), 0, &EXPECTED).unwrap_err().to_string()
    }

    #[test]
    fn a_head_is_complete_at_its_empty_line_and_not_before() {
        let head = good();
        let bytes = [head.as_bytes(), &[0x82, 0]].concat();
        let mut searched = 0;
        for size in 1..head.len() {
            let read = Head::read(&bytes[..size], searched, &EXPECTED).unwrap();
            assert_eq!(read, Head::Incomplete, "{size}");
            searched = size;
        }
        let read = Head::read(&bytes, searched, &EXPECTED).unwrap();
        assert_eq!(read, Head::Upgraded(head.len()));
        let bare = good().replace('\r', "");
        let read = Head::read(bare.as_bytes(), bare.len() - 1, &EXPECTED).unwrap();
        assert_eq!(read, Head::Upgraded(bare.len()));
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        let read = Head::read(&[interim, &*bytes].concat(), 0, &EXPECTED).unwrap();
        assert_eq!(read, Head::Interim(interim.len()));
    }

    #[test]
    fn everything_the_rfc_requires_of_an_upgrade_is_checked() {
        let protocol = "Sec-WebSocket-Protocol: fedecks.v1.bincode\r\n";
        let with = |lines: &str| good().replace(protocol, &format!("{protocol}{lines}"));
        let accept = "Sec-WebSocket-Accept is not the response to this request";
        for (head, expected) in [
            (good().replace("websocket\r\n", "h2c\r\n"), "no \"Upgrade: websocket\""),
            (good().replace("websocket\r\n", "websocket2\r\n"), "no \"Upgrade: websocket\""),
            (good().replace("Upgrade: w", "X: w"), "no \"Upgrade: websocket\""),
            (good().replace("keep-alive, Upgrade", "keep-alive"), "no \"Connection: Upgrade\""),
            (good().replace("keep-alive, Upgrade", "no Upgrade"), "no \"Connection: Upgrade\""),
            (good().replace("s3p", "S3p"), accept),
            (good().replace("Sec-WebSocket-Accept", "X"), accept),
            (good().replace("xOo=", "xOo=, a"), accept),
            (with("Sec-WebSocket-Accept: bm8=\r\n"), accept),
            (good().replace("fedecks.v1", "fedecks.v2"), "no \"Sec-WebSocket-Protocol: fedecks"),
            (good().replace(protocol, ""), "no \"Sec-WebSocket-Protocol: fedecks.v1.bincode\""),
            (with("Sec-WebSocket-Protocol: mqtt\r\n"), "no \"Sec-WebSocket-Protocol: fedecks"),
            (with("Sec-WebSocket-Extensions: permessage-deflate\r\n"), "selects an extension"),
            (good().replace("HTTP/1.1", "HTTP/1.0"), "in HTTP/1.0; expected HTTP/1.1"),
            (with(&"a: b\r\n".repeat(MAX_LINES)), "more than 124 header lines"),
            (good().replace("Upgrade: w", "Upgr ade: w"), "not valid HTTP: invalid header name"),
            ("SSH-2.0-x\r\n".to_owned(), "not HTTP, it begins with \"SSH-2.0-x\\r\\n\""),
            ("HTTX".to_owned(), "not HTTP, it begins with \"HTTX\""),
        ] {
            let error = error(&head);
            assert!(error.starts_with("the WebSocket upgrade failed: "), "{error}");
            assert!(error.contains(expected), "{error}; expected {expected}");
        }
    }

    #[test]
    fn a_redirect_is_named_without_its_query_and_escaped() {
        let answered = "a proxy, a captive portal or another server answered";
        let long = "/".repeat(1_000);
        for (location, expected) in [
            ("http://portal.test/login?token=secret#a", "http://portal.test/login"),
            ("http://a.test/\u{1b}]0;\u{202e}", "http://a.test/\\x1b]0;\\xe2\\x80\\xae"),
            (&*long, &long[..MAX_LOCATION]),
        ] {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n");
            if location.contains('\u{1b}') {
                assert!(error(&head).contains("not valid HTTP: invalid header value"));
                continue;
            }
            let expected =
                format!("unexpected HTTP status 302, which leads to \"{expected}\"; {answered}");
            assert_eq!(error(&head), expected);
        }
    }

    #[test]
    fn a_response_in_http_1_0_is_named_and_never_a_refusal() {
        let head = "HTTP/1.0 401 No\r\nX-Fedecks-Refusal: token-revoked\r\n\r\n";
        let error = Head::read(head.as_bytes(), 0, &EXPECTED).unwrap_err();
        assert!(matches!(error, DialError::Http { status: 401, location: None }), "{error:?}");
    }
}
