//! Reads credentials from a provisioning file or a systemd credential.

use std::fmt;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fedecks_protocol::{CLAIM_KEY, CLAIM_PREFIX, Credentials, Term};
use nix::libc;
use nix::sys::statfs::fstatfs;
use nix::unistd::geteuid;
use toml::de::{DeTable, DeValue};

use super::status::SourceKind;

/// Credentials are limited by the header that carries them; this leaves room for comments.
const MAX_SIZE: u64 = 64 * 1024;

/// A place where credentials may be.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) kind: SourceKind,
    pub(super) path: PathBuf,
}

/// The result of reading a source.
#[derive(Debug)]
pub(super) enum ReadResult {
    Absent,
    /// Why the content cannot be used.
    Unusable(String),
    Content(Content),
}

/// Credentials and the bytes that they were parsed from. Its `Debug` shows neither.
pub(super) struct Content {
    pub(super) stamp: FileStamp,
    pub(super) bytes: Vec<u8>,
    pub(super) credentials: Credentials,
    /// Every user of the device can read it, as the file system has no permissions.
    pub(super) is_world_readable: bool,
}

/// Identifies a version of a file, so that a later file of the same name is not mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileStamp([i128; 5]);

impl Source {
    pub(super) fn read(&self) -> ReadResult {
        match self.try_read() {
            Ok(Ok(content)) => ReadResult::Content(content),
            Ok(Err(problem)) => ReadResult::Unusable(problem),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => ReadResult::Absent,
                // After use, only the link would be removed.
                Some(libc::ELOOP) => ReadResult::Unusable("is a symbolic link".into()),
                _ => ReadResult::Unusable(format!("cannot be read: {error}")),
            },
        }
    }

    fn try_read(&self) -> io::Result<Result<Content, String>> {
        let mut options = OpenOptions::new();
        // Opening a named pipe would block.
        let file = options
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
            .open(&self.path)?;
        // Of the open file; the path may name another file by now.
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(Err("is not a regular file".into()));
        }
        let is_world_readable = match self.kind {
            // systemd restricts access to it, partly by ACLs that the mode does not show.
            SourceKind::Credential | SourceKind::Certificate => false,
            SourceKind::File => {
                let has_permissions = has_permissions(fstatfs(&file)?.filesystem_type().0 as u32);
                match (private(&metadata), has_permissions) {
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
        let stamp = FileStamp::of(&metadata);
        Ok(parse(text).map(|credentials| Content { stamp, bytes, credentials, is_world_readable }))
    }
}

impl Content {
    pub(super) fn is_claim(&self) -> bool {
        self.credentials.get(CLAIM_KEY).is_some()
    }
}

impl FileStamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self([
            metadata.dev().into(),
            metadata.ino().into(),
            metadata.size().into(),
            i128::from(metadata.mtime()) << 32 | i128::from(metadata.mtime_nsec()),
            i128::from(metadata.ctime()) << 32 | i128::from(metadata.ctime_nsec()),
        ])
    }

    /// The stamp of the file that has this name now.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        path.symlink_metadata().map(|metadata| Self::of(&metadata))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.bytes.len())
    }
}

/// Whether this kind of file system has a mode and an owner per file. FAT and its relatives give all files
/// those of the mount; a disk image may have none.
fn has_permissions(kind: u32) -> bool {
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
        return Err(format!("has mode {mode:04o}, expected 0600 or less, as it contains secrets"));
    }
    if owner != geteuid().as_raw() && owner != 0 {
        return Err(format!("is owned by user {owner}, expected root or {}", geteuid()));
    }
    Ok(())
}

/// Errors name keys and lines and never show a value; the TOML parser's own messages might.
fn parse(text: &str) -> Result<Credentials, String> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start));
        let line = line.map(|before| before.matches('\n').count() + 1);
        let line = line.map_or_else(String::new, |line| format!("line {line}: "));
        format!("{line}invalid TOML, expected lines such as claim = \"...\"")
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.into_inner() {
        let key = key.into_inner();
        let value = match value.into_inner() {
            DeValue::String(text) => Some(Term::from(&*text)),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok().map(Term::from)
            }
            DeValue::Float(number) => {
                let float = number.as_str().parse().ok();
                // A number that is too big is parsed as infinity, which TOML writes as inf.
                float
                    .filter(|float: &f64| !float.is_infinite() || number.as_str().contains("inf"))
                    .map(Term::Float)
            }
            DeValue::Boolean(flag) => Some(Term::Bool(flag)),
            _ => None,
        };
        let value = value.ok_or_else(|| {
            format!("{key}: expected a string, a boolean, a 64-bit integer or a float")
        })?;
        entries.push((Term::from(&*key), value));
    }
    if entries.is_empty() {
        return Err("is empty, expected lines such as claim = \"...\"".into());
    }
    let credentials =
        Credentials::from_term(Term::Map(entries)).map_err(|error| error.to_string())?;
    check_claim(&credentials)?;
    Ok(credentials)
}

/// Says what is wrong with a claim before the cloud would reject it together with the rest.
fn check_claim(credentials: &Credentials) -> Result<(), String> {
    let Some(claim) = credentials.get(CLAIM_KEY) else { return Ok(()) };
    if !claim.as_str().is_some_and(|claim| claim.starts_with(CLAIM_PREFIX)) {
        return Err(format!(
            "{CLAIM_KEY}: expected a string that begins with {CLAIM_PREFIX}, as fedecks-cloud claim add prints it"
        ));
    }
    match ["username", "password"].into_iter().find(|key| credentials.get(key).is_some()) {
        Some(key) => Err(format!("{key}: expected either a claim or a username and a password")),
        None => Ok(()),
    }
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

    fn write(path: &Path, content: impl AsRef<[u8]>) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    fn problem(source: &Source) -> Option<String> {
        match source.read() {
            ReadResult::Unusable(problem) => Some(problem),
            ReadResult::Content(_) => None,
            ReadResult::Absent => panic!("there is nothing"),
        }
    }

    #[test]
    fn named_strings_numbers_and_booleans_are_credentials() {
        let text = "# first\nadmin = false\npin = 0x2_a\nport = 42\nratio = -1_0.5\nusername = \"marvin\"\n";
        let expected = Credentials::new()
            .with("admin", Term::Bool(false))
            .with("pin", 42)
            .with("port", 42)
            .with("ratio", Term::Float(-10.5))
            .with("username", "marvin");
        assert_eq!(parse(text).unwrap(), expected);
        let claim = parse("claim = \"fdc_secret\"\nsite = \"north\"\n").unwrap();
        assert_eq!((claim.text("claim"), claim.text("site")), (Some("fdc_secret"), Some("north")));
    }

    #[test]
    fn the_credentials_in_the_readme_are_valid() {
        let readme = include_str!("../../../../README.md");
        let shown = readme.split("```toml\n").nth(2).unwrap().split("```").next().unwrap();
        assert!(parse(shown).unwrap().text("claim").is_some());
    }

    #[test]
    fn errors_name_the_line_or_key_and_show_no_value() {
        let invalid = "line 2: invalid TOML, expected lines such as claim = \"...\"";
        let reserved = "the key \"fedecks-token\" is reserved by the protocol";
        for (text, expected) in [
            ("a = 1\nusername = hunter2", invalid),
            ("a = 1\nusername = \"hunter2\" hunter3", invalid),
            ("a = 1\na = \"hunter2\"", invalid),
            ("a = [\"hunter2\"]", "a: expected a string, a boolean, a 64-bit integer or a float"),
            ("a = 1e999", "a: expected a string, a boolean, a 64-bit integer or a float"),
            ("fedecks-token = \"hunter2\"", reserved),
            ("", "is empty, expected lines such as claim = \"...\""),
            (
                "claim = \"hunter2\"",
                "claim: expected a string that begins with fdc_, as fedecks-cloud claim add prints it",
            ),
            (
                "claim = 7",
                "claim: expected a string that begins with fdc_, as fedecks-cloud claim add prints it",
            ),
            (
                "claim = \"fdc_hunter2\"\npassword = \"hunter3\"",
                "password: expected either a claim or a username and a password",
            ),
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
            "has mode 0644, expected 0600 or less, as it contains secrets"
        );
        // systemd may have granted access by an ACL, which shows as the mode of the group.
        let credential = Source { kind: SourceKind::Credential, path: path.clone() };
        assert_eq!(problem(&credential), None);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        // Only root can change the owner.
        if chown(&path, Some(65_534), None).is_ok() {
            let problem = problem(&source).unwrap();
            assert!(problem.contains("is owned by user 65534"), "{problem}");
        }
    }

    #[test]
    fn an_unusable_file_is_distinguished_from_an_absent_one() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("c.toml");
        let source = file(&path);
        assert!(matches!(source.read(), ReadResult::Absent));
        assert!(matches!(file(&path.join("below")).read(), ReadResult::Absent));
        assert_eq!(problem(&file(folder.path())).unwrap(), "is not a regular file");
        symlink("nowhere", &path).unwrap();
        assert_eq!(problem(&source).unwrap(), "is a symbolic link");
        fs::remove_file(&path).unwrap();
        for (content, expected) in [
            (b"a = \"\xff\"".to_vec(), "is not UTF-8".to_owned()),
            (vec![b'#'; 65_537], "is longer than 65536 bytes".to_owned()),
        ] {
            write(&path, content);
            assert_eq!(problem(&source).unwrap(), expected);
        }
        fs::write(&path, format!("a = 1\n{}", "#".repeat(65_530))).unwrap();
        assert_eq!(problem(&source), None);
    }

    #[test]
    fn file_systems_without_permissions_are_known() {
        // linux/magic.h
        for kind in [0x4d44, 0x2011_bab0, 0x9660, 0x7366_746e] {
            assert!(!has_permissions(kind), "{kind:x}");
        }
        // ext4, ubifs, f2fs, squashfs, tmpfs, overlayfs
        for kind in [0xef53, 0x2405_1905, 0xf2f5_2010, 0x7371_7368, 0x0102_1994, 0x794c_7630] {
            assert!(has_permissions(kind), "{kind:x}");
        }
    }

    #[test]
    fn debug_shows_nothing_of_the_content() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("c.toml");
        write(&path, "password = \"hunter2\"\n");
        assert_eq!(format!("{:?}", file(&path).read()), "Content(Content(21 bytes))");
    }
}
