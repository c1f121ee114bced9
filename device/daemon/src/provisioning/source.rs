//! Reads credentials from where somebody put them.

use std::fmt;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fedecks_protocol::{Credentials, Term};
use nix::libc;
use nix::sys::statfs::fstatfs;
use nix::unistd::geteuid;
use toml::{Table, Value};

use super::status::SourceKind;

/// No credentials are longer than the header that carries them; this leaves room for comments.
const MAX_SIZE: u64 = 64 * 1024;

/// A place where credentials may be.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) kind: SourceKind,
    pub(super) path: PathBuf,
}

/// What is there.
#[derive(Debug)]
pub(super) enum Sight {
    Nothing,
    /// Something that cannot be used, and why.
    Unusable(String),
    Content(Content),
}

/// Credentials with the bytes that they were read from. Its `Debug` shows nothing of either.
pub(super) struct Content {
    pub(super) stamp: Stamp,
    pub(super) bytes: Vec<u8>,
    pub(super) credentials: Credentials,
    /// Everybody on the device can read it, and the file system knows no other way.
    pub(super) is_open_to_all: bool,
}

/// Tells a file from what has its name later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp([i128; 5]);

impl Source {
    pub(super) fn look(&self) -> Sight {
        match self.read() {
            Ok(Ok(content)) => Sight::Content(content),
            Ok(Err(problem)) => Sight::Unusable(problem),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => Sight::Nothing,
                // Only the link would be removed after use.
                Some(libc::ELOOP) => Sight::Unusable("is a symbolic link".into()),
                _ => Sight::Unusable(format!("cannot be read: {error}")),
            },
        }
    }

    fn read(&self) -> io::Result<Result<Content, String>> {
        let mut options = OpenOptions::new();
        // A pipe in its place must not make anybody wait.
        let file = options
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
            .open(&self.path)?;
        // Of the file itself, not of whatever has its name by now.
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(Err("is not a regular file".into()));
        }
        let is_open_to_all = match self.kind {
            // systemd sees to who can read it, partly by means that the mode does not show.
            SourceKind::Credential => false,
            SourceKind::File => {
                let knows_permissions =
                    knows_permissions(fstatfs(&file)?.filesystem_type().0 as u32);
                match (private(&metadata), knows_permissions) {
                    (Err(problem), true) => return Ok(Err(problem)),
                    (Err(_), false) => true,
                    (Ok(()), _) => false,
                }
            }
        };
        let mut bytes = Vec::new();
        file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_SIZE {
            return Ok(Err(format!("is longer than {MAX_SIZE} bytes")));
        }
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return Ok(Err("is not UTF-8".into()));
        };
        let stamp = Stamp::of(&metadata);
        Ok(parse(text).map(|credentials| Content { stamp, bytes, credentials, is_open_to_all }))
    }
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self([
            metadata.dev().into(),
            metadata.ino().into(),
            metadata.size().into(),
            i128::from(metadata.mtime()) << 32 | i128::from(metadata.mtime_nsec()),
            i128::from(metadata.ctime()) << 32 | i128::from(metadata.ctime_nsec()),
        ])
    }

    /// Of what has this name now.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        path.symlink_metadata().map(|metadata| Self::of(&metadata))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.bytes.len())
    }
}

/// Whether this kind of file system keeps a mode and an owner for each file. FAT and its relatives
/// give all files the ones that they were mounted with; a disk image may come without.
fn knows_permissions(kind: u32) -> bool {
    const MSDOS: u32 = 0x4d44;
    const EXFAT: u32 = 0x2011_bab0;
    const NTFS: u32 = 0x5346_544e;
    const NTFS3: u32 = 0x7366_746e;
    const ISO9660: u32 = 0x9660;
    ![MSDOS, EXFAT, NTFS, NTFS3, ISO9660].contains(&kind)
}

fn private(metadata: &Metadata) -> Result<(), String> {
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    if mode & 0o077 != 0 {
        return Err(format!("has mode {mode:04o}, expected 0600 or less: it holds secrets"));
    }
    if owner != geteuid().as_raw() && owner != 0 {
        return Err(format!("belongs to user {owner}, expected root or {}", geteuid()));
    }
    Ok(())
}

/// Errors name keys and lines and never show a value; the TOML parser's own words might.
fn parse(text: &str) -> Result<Credentials, String> {
    let table: Table = toml::from_str(text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start));
        let line = line.map(|before| before.matches('\n').count() + 1);
        let line = line.map_or_else(String::new, |line| format!("line {line}: "));
        format!("{line}not TOML, expected lines such as username = \"...\"")
    })?;
    let mut entries = Vec::new();
    for (key, value) in table {
        let value = match value {
            Value::String(text) => Term::from(text.as_str()),
            Value::Integer(number) => Term::from(number),
            Value::Float(number) => Term::Float(number),
            Value::Boolean(flag) => Term::Bool(flag),
            Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
                return Err(format!("{key}: expected a text, a number or a flag"));
            }
        };
        entries.push((Term::from(key.as_str()), value));
    }
    if entries.is_empty() {
        return Err("is empty, expected lines such as username = \"...\"".into());
    }
    Credentials::from_term(Term::Map(entries)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use tempfile::tempdir;

    use super::*;

    fn file(path: &Path) -> Source {
        Source { kind: SourceKind::File, path: path.to_owned() }
    }

    fn problem(source: &Source) -> Option<String> {
        match source.look() {
            Sight::Unusable(problem) => Some(problem),
            Sight::Content(_) => None,
            Sight::Nothing => panic!("there is nothing"),
        }
    }

    #[test]
    fn named_texts_numbers_and_flags_are_credentials() {
        let text = "# for the first login\nusername = \"marvin\"\npin = 42\nadmin = false\n";
        let expected = Credentials::new()
            .with("admin", Term::Bool(false))
            .with("pin", 42)
            .with("username", "marvin");
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn the_readme_shows_credentials_that_are_read() {
        let readme = include_str!("../../../../README.md");
        let shown = readme.split("```toml\n").nth(2).unwrap().split("```").next().unwrap();
        assert_eq!(parse(shown).unwrap().text("username"), Some("marvin"));
    }

    #[test]
    fn errors_name_the_place_and_show_no_value() {
        let expected = "line 2: not TOML, expected lines such as username = \"...\"";
        for text in [
            "a = 1\nusername = hunter2",
            "a = 1\nusername = \"hunter2\" hunter3",
            "a = 1\na = \"hunter2\"",
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
        for (text, expected) in [
            ("a = [\"hunter2\"]", "a: expected a text, a number or a flag"),
            (
                "fedecks-token = \"hunter2\"",
                "the key \"fedecks-token\" is reserved by the protocol",
            ),
            ("", "is empty, expected lines such as username = \"...\""),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_or_own_is_refused() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("c.toml");
        let source = file(&path);
        fs::write(&path, "a = 1\n").unwrap();
        for (mode, allowed) in
            [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o666, false)]
        {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(problem(&source).is_none(), allowed, "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            problem(&source).unwrap(),
            "has mode 0644, expected 0600 or less: it holds secrets"
        );
        // systemd may have given somebody the right by a list that shows as the group's.
        let credential = Source { kind: SourceKind::Credential, path: path.clone() };
        assert_eq!(problem(&credential), None);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        // Only root can give files away; everybody else can't even read what is not theirs.
        if chown(&path, Some(65_534), None).is_ok() {
            let problem = problem(&source).unwrap();
            assert!(problem.contains("belongs to user 65534"), "{problem}");
        }
    }

    #[test]
    fn what_is_no_file_of_credentials_is_told_apart_from_nothing() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("c.toml");
        let source = file(&path);
        assert!(matches!(source.look(), Sight::Nothing));
        assert!(matches!(file(&path.join("below")).look(), Sight::Nothing));
        assert_eq!(problem(&file(folder.path())).unwrap(), "is not a regular file");
        symlink("nowhere", &path).unwrap();
        assert_eq!(problem(&source).unwrap(), "is a symbolic link");
        fs::remove_file(&path).unwrap();
        for (content, expected) in [
            (b"a = \"\xff\"".to_vec(), "is not UTF-8".to_owned()),
            (vec![b'#'; 65_537], "is longer than 65536 bytes".to_owned()),
        ] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            assert_eq!(problem(&source).unwrap(), expected);
        }
        fs::write(&path, format!("a = 1\n{}", "#".repeat(65_530))).unwrap();
        assert_eq!(problem(&source), None);
    }

    #[test]
    fn file_systems_without_permissions_are_known_by_their_number() {
        // linux/magic.h
        for kind in [0x4d44, 0x2011_bab0, 0x9660, 0x7366_746e] {
            assert!(!knows_permissions(kind), "{kind:x}");
        }
        // ext4, ubifs, f2fs, squashfs, tmpfs, overlayfs
        for kind in [0xef53, 0x2405_1905, 0xf2f5_2010, 0x7371_7368, 0x0102_1994, 0x794c_7630] {
            assert!(knows_permissions(kind), "{kind:x}");
        }
    }

    #[test]
    fn nothing_of_the_content_is_shown() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("c.toml");
        fs::write(&path, "password = \"hunter2\"\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(format!("{:?}", file(&path).look()), "Content(Content(21 bytes))");
    }
}
