//! Reads the command's input: JSON arguments, files and standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use fedecks_protocol::{JsonTerm, LiteralJson, Term};

use crate::failure::Failure;

/// No cloud accepts a bigger message; more is not read into memory.
const MAX_MESSAGE: u64 = 16 * 1024 * 1024;

/// All of standard input.
pub(crate) async fn stdin() -> Result<Vec<u8>, Failure> {
    blocking(|| {
        let stdin = std::io::stdin().lock();
        read(stdin).map_err(|problem| Failure::Usage(format!("standard input: {problem}")))
    })
    .await
}

/// A file, or standard input for `-`.
pub(crate) async fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    if path.as_os_str() == "-" {
        return stdin().await;
    }
    let path = PathBuf::from(path);
    blocking(move || {
        std::fs::File::open(&path)
            .map_err(|error| error.to_string())
            .and_then(read)
            .map_err(|problem| Failure::Usage(format!("{}: {problem}", path.display())))
    })
    .await
}

/// Parses a JSON value. `place` names its origin in errors.
pub(crate) fn json(text: &[u8], place: &str) -> Result<Term, Failure> {
    serde_json::from_slice(text).map(|JsonTerm(term)| term).map_err(|error| invalid(&error, place))
}

/// The same for JSON that is data as it is, without escapes.
pub(crate) fn literal_json(text: &[u8], place: &str) -> Result<Term, Failure> {
    serde_json::from_slice(text)
        .map(|LiteralJson(term)| term)
        .map_err(|error| invalid(&error, place))
}

fn invalid(error: &serde_json::Error, place: &str) -> Failure {
    // Valid JSON but not a valid value: an escape with invalid content, for example.
    let problem = if error.is_data() { ":" } else { " is not valid JSON:" };
    Failure::Usage(format!("{place}{problem} {error}"))
}

/// Runs blocking work on a separate thread, so that a signal can still end the program.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

fn read(source: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    source.take(MAX_MESSAGE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_MESSAGE {
        return Err(format!("more than {MAX_MESSAGE} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_input_is_refused_without_reading_it_all() {
        assert_eq!(read(std::io::repeat(7)), Err("more than 16777216 bytes".to_owned()));
        assert_eq!(read(&b"abc"[..]), Ok(b"abc".to_vec()));
    }

    #[test]
    fn a_json_error_names_line_and_column() {
        let error = json(b"{\n\"a\": }", "the argument").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let expected = "the argument is not valid JSON: expected value at line 2 column 6";
        assert_eq!(error.to_string(), expected);
        let error = json(br#"{"$int":"x"}"#, "the argument").unwrap_err();
        assert!(error.to_string().starts_with("the argument: $int must be"), "{error}");
    }
}
