//! Standard output and error.

use std::io::{self, Write};

use fedecks_common::utc;

use super::error::CliError;
use crate::error::ServerError;

/// Writes to standard output. Whoever reads it and goes away early, as `head` does, is no error.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(ServerError::io("write to standard output")(error).into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Tells the user what went wrong.
pub(super) fn complain(error: &CliError) {
    // There is nobody left to tell if that fails.
    let _ = writeln!(io::stderr(), "fedecks-cloud: {error}");
}

/// A time for people, or `never`.
pub(super) fn utc_or_never(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "never".into(), utc)
}
