//! Which credentials were used or rejected, kept in the data directory while they cannot be removed.
//!
//! A fast hash of a file with a short password would reveal the password to anyone who reads the disk, even
//! after the file is gone. So the fingerprint is a slow, salted hash; it is computed only if there is an
//! entry to compare with.

use std::num::NonZeroU32;

use fedecks_device::storage::{AtomicFile, DataDir, StoreError};
use ring::pbkdf2;

use super::status::SourceKind;
use crate::hex;

/// The file `provisioning` in the data directory. Every call blocks on the disk.
#[derive(Debug)]
pub(super) struct RecordFile(AtomicFile);

/// At most one entry for each kind of source: its last content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: SourceKind,
    pub(super) content: Fingerprint,
    pub(super) verdict: Verdict,
}

/// The outcome of the login with a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A login with it was started. `before` is the hash of the token at that time, if there was one: another
    /// token now was issued by that login or a later one.
    Tried { before: Option<String> },
    /// The login has succeeded and the token was on disk.
    Used,
    /// The cloud has rejected it, with this reason.
    Rejected(String),
}

/// A salted hash of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    salt: [u8; 16],
    hash: [u8; 16],
}

/// Each guess at the content costs this many rounds of HMAC-SHA256: some hundredths of a second.
const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(99_999);

impl Fingerprint {
    /// With a random salt.
    pub(super) fn new(content: &[u8]) -> Self {
        Self::with_salt(rand::random(), content)
    }

    fn with_salt(salt: [u8; 16], content: &[u8]) -> Self {
        let mut hash = [0; 16];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &salt, content, &mut hash);
        Self { salt, hash }
    }

    pub(super) fn matches(&self, content: &[u8]) -> bool {
        *self == Self::with_salt(self.salt, content)
    }
}

impl Record {
    /// The entry of this content, if it is the last one of this source.
    pub(super) fn find(&self, kind: SourceKind, content: &[u8]) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.kind == kind && entry.content.matches(content))
    }

    fn without(mut self, kind: SourceKind) -> Self {
        self.0.retain(|entry| entry.kind != kind);
        self
    }
}

impl RecordFile {
    pub(super) fn new(directory: impl Into<DataDir>) -> Self {
        Self(AtomicFile::new(directory, "provisioning"))
    }

    pub(super) fn read(&self) -> Result<Record, StoreError> {
        Ok(self.0.read(parse)?.unwrap_or_default())
    }

    /// Replaces the entry of the same source.
    pub(super) fn put(&self, entry: Entry) -> Result<(), StoreError> {
        let known = self.read().unwrap_or_default();
        if known.0.contains(&entry) {
            return Ok(());
        }
        let mut record = known.without(entry.kind);
        record.0.push(entry);
        self.write(&record)
    }

    /// Removes the entry of this source.
    pub(super) fn clear(&self, kind: SourceKind) -> Result<(), StoreError> {
        let known = self.read()?;
        let record = known.clone().without(kind);
        if record == known {
            return Ok(());
        }
        if record.0.is_empty() {
            return self.0.remove();
        }
        self.write(&record)?;
        // Twice, as the first write keeps a copy of the previous content.
        self.write(&record)
    }

    fn write(&self, record: &Record) -> Result<(), StoreError> {
        self.0.write(&record.0.iter().map(line).collect::<String>())
    }
}

fn line(entry: &Entry) -> String {
    let verdict = match &entry.verdict {
        Verdict::Tried { before: None } => "tried".to_owned(),
        Verdict::Tried { before: Some(token) } => format!("tried {token}"),
        Verdict::Used => "used".to_owned(),
        Verdict::Rejected(reason) => format!("rejected {}", reason.replace(char::is_control, " ")),
    };
    let Fingerprint { salt, hash } = &entry.content;
    let (salt, hash) = (hex::encode(salt), hex::encode(hash));
    format!("{} {salt} {hash} {verdict}\n", entry.kind.name())
}

fn parse(body: &str) -> Option<Record> {
    body.lines().map(parse_line).collect::<Option<_>>().map(Record)
}

fn parse_line(line: &str) -> Option<Entry> {
    let mut words = line.splitn(5, ' ');
    let kind = words.next()?;
    let kind =
        [SourceKind::File, SourceKind::Credential].into_iter().find(|it| it.name() == kind)?;
    let content =
        Fingerprint { salt: hex::decode(words.next()?)?, hash: hex::decode(words.next()?)? };
    let verdict = match (words.next()?, words.next()) {
        ("tried", before) => Verdict::Tried { before: before.map(str::to_owned) },
        ("used", None) => Verdict::Used,
        ("rejected", Some(reason)) => Verdict::Rejected(reason.to_owned()),
        _ => return None,
    };
    Some(Entry { kind, content, verdict })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::tempdir;

    use super::*;

    fn entry(kind: SourceKind, content: &str, verdict: Verdict) -> Entry {
        Entry { kind, content: Fingerprint::new(content.as_bytes()), verdict }
    }

    #[test]
    fn each_source_has_its_last_entry_found_by_its_content() {
        let folder = tempdir().unwrap();
        let file = RecordFile::new(folder.path());
        assert_eq!(file.read().unwrap(), Record::default());
        let first = entry(SourceKind::File, "first", Verdict::Used);
        let second = entry(SourceKind::File, "second", Verdict::Tried { before: Some("t".into()) });
        let other = entry(SourceKind::Credential, "first", Verdict::Rejected("not known".into()));
        for entry in [&first, &second, &other] {
            file.put(entry.clone()).unwrap();
        }
        let record = file.read().unwrap();
        assert_eq!(record.find(SourceKind::File, b"first"), None);
        assert_eq!(record.find(SourceKind::File, b"second"), Some(&second));
        assert_eq!(record.find(SourceKind::Credential, b"first"), Some(&other));
        file.clear(SourceKind::File).unwrap();
        assert_eq!(file.read().unwrap(), Record(vec![other]));
        file.clear(SourceKind::Credential).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_format_of_the_record_is_frozen() {
        let folder = tempdir().unwrap();
        let content = Fingerprint::with_salt(*b"sixteen bytes, 1", b"password = \"a\"\n");
        let verdict = Verdict::Rejected("bad\ncredentials".into());
        let entry = Entry { kind: SourceKind::File, content, verdict };
        RecordFile::new(folder.path()).put(entry).unwrap();
        let text = fs::read_to_string(folder.path().join("provisioning")).unwrap();
        // python3 -c 'import hashlib; print(hashlib.pbkdf2_hmac("sha256", b"password = \"a\"\n",
        // b"sixteen bytes, 1", 100000, 16).hex())'
        let hash = "7369787465656e2062797465732c2031 68bd23b915d828547577546009e267f1";
        let expected =
            format!("fedecks provisioning 1\nfile {hash} rejected bad credentials\ncrc32 ");
        assert!(text.starts_with(&expected), "{text}");
    }

    #[test]
    fn fingerprints_of_the_same_content_differ() {
        let (a, b) = (Fingerprint::new(b"x"), Fingerprint::new(b"x"));
        assert_ne!(a, b);
        assert!(a.matches(b"x") && b.matches(b"x") && !a.matches(b"y"));
    }

    #[test]
    fn every_verdict_survives_a_round_trip_and_bad_lines_do_not() {
        for verdict in [
            Verdict::Used,
            Verdict::Tried { before: None },
            Verdict::Tried { before: Some("ab12".into()) },
            Verdict::Rejected("a b c".into()),
        ] {
            let entry = entry(SourceKind::Credential, "x", verdict);
            assert_eq!(parse(&line(&entry)), Some(Record(vec![entry])));
        }
        let (salt, hash) = ("00".repeat(16), "11".repeat(16));
        for bad in [
            format!("file {salt} {hash}"),
            format!("file {salt} {hash} used again"),
            format!("file {salt} {hash} rejected"),
            format!("file {salt} 11 used"),
            format!("nose {salt} {hash} used"),
            "\n".into(),
        ] {
            assert_eq!(parse(&bad), None, "{bad:?}");
        }
    }
}
