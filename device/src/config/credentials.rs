use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use fedecks_protocol::{Credentials, Term};
use nix::libc;
use nix::unistd::geteuid;
use toml::{Table, Value};

use super::ConfigError;

/// No credentials are longer than the header that carries them; this leaves room for comments.
const MAX_SIZE: u64 = 64 * 1024;

pub(super) fn read(path: &Path) -> Result<Credentials, ConfigError> {
    let unreadable =
        |source| ConfigError::Unreadable { what: "the credentials", file: path.to_owned(), source };
    // A pipe in its place must not make anybody wait.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(unreadable)?;
    check(&file).map_err(unreadable)?.map_err(|problem| wrong(path, problem))?;
    let mut text = String::new();
    file.take(MAX_SIZE).read_to_string(&mut text).map_err(unreadable)?;
    parse(&text, path)
}

/// Of the file itself, not of whatever has its name by now.
fn check(file: &File) -> io::Result<Result<(), String>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Err("is not a regular file".into()));
    }
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    if mode & 0o077 != 0 {
        return Ok(Err(format!("has mode {mode:04o}, expected 0600 or less: it holds secrets")));
    }
    if owner != geteuid().as_raw() && owner != 0 {
        return Ok(Err(format!("belongs to user {owner}, expected root or {}", geteuid())));
    }
    Ok(Ok(()))
}

/// Errors name keys and lines and never show a value; the TOML parser's own words might.
fn parse(text: &str, path: &Path) -> Result<Credentials, ConfigError> {
    let table: Table = toml::from_str(text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start));
        let line = line.map(|before| before.matches('\n').count() + 1);
        let line = line.map_or_else(String::new, |line| format!(", line {line}"));
        let place = format!("{}{line}", path.display());
        let problem = "not TOML, expected lines such as username = \"...\"".into();
        ConfigError::Wrong { place, problem }
    })?;
    let mut entries = Vec::new();
    for (key, value) in table {
        let value = match value {
            Value::String(text) => Term::from(text.as_str()),
            Value::Integer(number) => Term::from(number),
            Value::Float(number) => Term::Float(number),
            Value::Boolean(flag) => Term::Bool(flag),
            Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
                let problem = "expected a text, a number or a flag";
                return Err(wrong(path, format!("{key}: {problem}")));
            }
        };
        entries.push((Term::from(key.as_str()), value));
    }
    if entries.is_empty() {
        return Err(wrong(path, "is empty, expected lines such as username = \"...\"".into()));
    }
    Credentials::from_term(Term::Map(entries)).map_err(|error| wrong(path, error.to_string()))
}

fn wrong(path: &Path, problem: String) -> ConfigError {
    ConfigError::Wrong { place: path.display().to_string(), problem }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown};

    use tempfile::tempdir;

    use super::*;

    fn error_of(text: &str) -> String {
        parse(text, Path::new("/c.toml")).unwrap_err().to_string()
    }

    #[test]
    fn named_texts_numbers_and_flags_are_credentials() {
        let text = "# for the first login\nusername = \"marvin\"\npin = 42\nadmin = false\n";
        let credentials = parse(text, Path::new("/c.toml")).unwrap();
        let expected = Credentials::new()
            .with("admin", Term::Bool(false))
            .with("pin", 42)
            .with("username", "marvin");
        assert_eq!(credentials, expected);
    }

    #[test]
    fn errors_name_the_place_and_show_no_value() {
        let expected = "/c.toml, line 2: not TOML, expected lines such as username = \"...\"";
        for text in [
            "a = 1\nusername = hunter2",
            "a = 1\nusername = \"hunter2\" hunter3",
            "a = 1\na = \"hunter2\"",
        ] {
            assert_eq!(error_of(text), expected, "{text}");
        }
        assert_eq!(
            error_of("a = [\"hunter2\"]"),
            "/c.toml: a: expected a text, a number or a flag"
        );
        assert_eq!(
            error_of("fedecks-token = \"hunter2\""),
            "/c.toml: the key \"fedecks-token\" is reserved by the protocol"
        );
        assert_eq!(error_of(""), "/c.toml: is empty, expected lines such as username = \"...\"");
    }

    #[test]
    fn a_file_that_others_can_read_or_own_is_refused() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("c.toml");
        fs::write(&path, "a = 1\n").unwrap();
        for (mode, allowed) in
            [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o666, false)]
        {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).is_ok(), allowed, "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            read(&path).unwrap_err().to_string(),
            format!("{}: has mode 0644, expected 0600 or less: it holds secrets", path.display())
        );
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        // Only root can give files away; everybody else can't even read what is not theirs.
        if chown(&path, Some(65_534), None).is_ok() {
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("belongs to user 65534"), "{error}");
        }
    }

    #[test]
    fn a_folder_or_a_missing_file_is_refused() {
        let folder = tempdir().unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with(": is not a regular file"), "{error}");
        assert_eq!(
            read(Path::new("/nowhere/c.toml")).unwrap_err().to_string(),
            "cannot read the credentials /nowhere/c.toml: No such file or directory (os error 2)"
        );
    }
}
