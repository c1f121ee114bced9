//! The command's output: results on standard output, notes on standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use fedecks_common::text;
use fedecks_protocol::{JsonTerm, Term};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::failure::Failure;

/// Writes a line to standard output and flushes it.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::ClosedPipe
        } else {
            Failure::Failed(format!("standard output: {error}"))
        }
    })
}

/// [`line()`] for someone who watches: on a terminal only, as a script may do this every second.
pub(crate) fn remark(text: impl Display) -> Result<(), Failure> {
    if io::stdout().is_terminal() { line(text) } else { Ok(()) }
}

/// Writes a line for people to standard error. Ignores errors, which cannot be reported anywhere.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "fedecks: {}", text::escape(&text.to_string()));
}

/// A term as one line of JSON, which does not drive a terminal.
pub(crate) fn json(term: &Term) -> Result<String, Failure> {
    let json = serde_json::to_string(&JsonTerm(term));
    json.map(text::escape_json).map_err(|error| Failure::Failed(error.to_string()))
}

/// Returns when the reader of standard output has closed it; never if that cannot be detected, as with a
/// file.
pub(crate) async fn closed() -> Failure {
    if let Some(failure) = detect_closed().await {
        return failure;
    }
    std::future::pending().await
}

async fn detect_closed() -> Option<Failure> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        return None;
    }
    let stdout = stdout.as_fd().try_clone_to_owned().ok()?;
    #[expect(unsafe_code, reason = "tokio has no safe way to register a custom file descriptor")]
    // SAFETY: an `OwnedFd` is the same open descriptor for its whole lifetime.
    let stdout = unsafe { AsyncFd::register_with_interest(stdout, Interest::ERROR) };
    let _ = stdout.ok()?.ready(Interest::ERROR).await.ok()?;
    Some(Failure::ClosedPipe)
}

/// Colors, if standard output supports them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Colors(bool);

impl Colors {
    /// Enabled on a terminal unless NO_COLOR is set.
    pub(crate) fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(io::stdout().is_terminal() && !set("NO_COLOR") && !is_dumb)
    }

    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(false)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.apply("32", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.apply("31", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.apply("33", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.apply("1", text)
    }

    fn apply(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_shows_what_a_terminal_would_obey() {
        for (text, shown) in [
            ("\u{7f}", r#""\u007f""#),
            ("\u{9b}31m", r#""\u009b31m""#),
            ("a\u{202e}b", r#""a\u202eb""#),
            ("\u{61c}\u{200e}\u{2069}", r#""\u061c\u200e\u2069""#),
            ("\u{2028}", r#""\u2028""#),
            ("größer …", "\"größer …\""),
        ] {
            assert_eq!(json(&Term::from(text)).unwrap(), shown);
        }
    }
}
