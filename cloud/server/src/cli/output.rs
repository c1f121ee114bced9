//! Standard output and error.

use std::io::{self, Write};

use fedecks_common::text::escape_lines;
use fedecks_common::{log, utc};

use super::error::CliError;
use crate::error::ServerError;

/// Where a command prints: standard output, or memory in tests.
pub(super) struct Output<'a> {
    pub(super) writer: &'a mut dyn Write,
    /// Whether a person reads it, and no script.
    pub(super) is_terminal: bool,
}

impl Output<'_> {
    /// A reader that closes the pipe early, as `head` does, is not an error.
    pub(super) fn print(&mut self, text: &str) -> Result<(), CliError> {
        match self
            .writer
            .write_all(escape_lines(text).as_bytes())
            .and_then(|()| self.writer.flush())
        {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(ServerError::io("write to standard output")(error).into())
            }
            _ => Ok(()),
        }
    }

    /// The names of a list's columns, on a terminal only.
    pub(super) fn print_header(&mut self, columns: &str) -> Result<(), CliError> {
        if self.is_terminal { self.print(&format!("{columns}\n")) } else { Ok(()) }
    }
}

/// Something to know about a command that succeeds, on standard error, as scripts read standard output.
pub(super) fn print_notice(notice: &str) {
    log::print(&format!("fedecks-cloud: {notice}"));
}

/// After the lines of the log, if there is one.
pub(super) fn print_error(error: &CliError) {
    log::print(&format!("fedecks-cloud: {error}"));
}

/// A time for people, or `never`.
pub(super) fn utc_or_never(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "never".into(), utc)
}
