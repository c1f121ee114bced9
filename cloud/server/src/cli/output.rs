//! Standard output and error.

use std::io::{self, Write};

use clap::Args;
use fedecks_common::text::{escape_json, escape_lines};
use fedecks_common::{log, utc};
use serde_json::Value;

use super::error::CliError;
use crate::error::ServerError;

/// How a list or a status is printed.
#[derive(Args, Clone, Copy)]
pub(super) struct Format {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// A row of a list, for each format.
pub(super) struct Row {
    /// Columns, separated by tabs.
    pub(super) columns: String,
    /// An object with the names that the API uses.
    pub(super) json: Value,
}

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

    /// The names of a list's columns, on a terminal only, and not for JSON.
    pub(super) fn print_header(&mut self, format: Format, columns: &str) -> Result<(), CliError> {
        if self.is_terminal && !format.json { self.print(&format!("{columns}\n")) } else { Ok(()) }
    }

    /// Some rows of a list.
    pub(super) fn print_rows(
        &mut self,
        format: Format,
        rows: impl Iterator<Item = Row>,
    ) -> Result<(), CliError> {
        let lines = rows.map(|row| match format.json {
            true => escape_json(row.json.to_string()) + "\n",
            false => row.columns + "\n",
        });
        self.print(&lines.collect::<String>())
    }

    /// A status: its lines, or an object.
    pub(super) fn print_status(&mut self, format: Format, status: Row) -> Result<(), CliError> {
        self.print_rows(format, std::iter::once(status))
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
