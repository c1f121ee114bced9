//! The token store: the device's token on disk.

use fedecks_protocol::{DeviceId, IssuedToken, Token};

use super::atomic_file::AtomicFile;
use super::data_dir::DataDir;
use super::store_error::StoreError;

/// Stores the device's token in the data directory, in the [`AtomicFile`] `token`. Every call blocks on
/// the disk.
#[derive(Debug, Clone)]
pub struct TokenStore {
    file: AtomicFile,
    device_id: DeviceId,
}

impl TokenStore {
    /// The store of this device in `directory`, which may not exist yet.
    pub fn new(directory: impl Into<DataDir>, device_id: DeviceId) -> Self {
        Self { file: AtomicFile::new(directory, "token"), device_id }
    }

    /// Stores this token. The previous one is kept as a fallback in case the new file gets damaged.
    pub fn save(&self, token: &IssuedToken) -> Result<(), StoreError> {
        let body = format!(
            "device {}\nexpires {}\ntoken {}\n",
            self.device_id,
            token.expires_at,
            token.token.expose()
        );
        self.file.write(&body)
    }

    /// The newest intact token of this device. Returns `None`, and logs why, if what is stored is damaged
    /// or belongs to another device.
    pub fn load(&self) -> Result<Option<IssuedToken>, StoreError> {
        let Some((device, token)) = self.file.read_if_any(parse)? else { return Ok(None) };
        if device != self.device_id {
            tracing::warn!(of = %device, device = %self.device_id, "ignored the stored token of another device");
            return Ok(None);
        }
        Ok(Some(token))
    }

    /// Removes the token and every copy of it, if there are any.
    pub fn forget(&self) -> Result<(), StoreError> {
        self.file.remove()
    }

    /// Fails with [`StoreError::InUse`] if another process uses the directory.
    pub(crate) fn check_lock(&self) -> Result<(), StoreError> {
        self.file.check_lock()
    }
}

fn parse(body: &str) -> Option<(DeviceId, IssuedToken)> {
    let mut lines = body.lines();
    let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
    let device = DeviceId::new(value("device")?).ok()?;
    let expires_at = value("expires")?.parse().ok()?;
    let token = Token::new(value("token")?).ok()?;
    lines.next().is_none().then_some((device, IssuedToken { token, expires_at }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use tempfile::{TempDir, tempdir};

    use super::*;

    fn device(name: &str) -> DeviceId {
        DeviceId::new(name).unwrap()
    }

    fn token(text: &str, expires_at: u64) -> IssuedToken {
        IssuedToken { token: Token::new(text).unwrap(), expires_at }
    }

    fn numbered(number: u64) -> IssuedToken {
        let padding = "x".repeat(usize::try_from(number % 900).unwrap());
        token(&format!("v4.local.{number}.{padding}"), number)
    }

    fn fresh() -> (TempDir, TokenStore) {
        let folder = tempdir().unwrap();
        let store = TokenStore::new(folder.path(), device("nerves-242a"));
        (folder, store)
    }

    #[test]
    fn a_token_is_stored_in_a_frozen_format_until_it_is_forgotten() {
        let (folder, store) = fresh();
        assert_eq!(store.load().unwrap(), None);
        store.save(&numbered(1)).unwrap();
        let newest = token("v4.local.abc", 1_798_761_599);
        store.save(&newest).unwrap();
        let text = "fedecks token 1\ndevice nerves-242a\nexpires 1798761599\ntoken v4.local.abc\n\
                    crc32 23fe5d91\n";
        assert_eq!(fs::read_to_string(folder.path().join("token")).unwrap(), text);
        assert_eq!(store.load().unwrap(), Some(newest));
        // A damaged file counts as absent.
        for (file, left) in [("token", Some(numbered(1))), ("token.previous", None)] {
            fs::write(folder.path().join(file), &text[1..]).unwrap();
            assert_eq!(store.load().unwrap(), left, "{file}");
        }
        store.forget().unwrap();
        assert_eq!(store.load().unwrap(), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        // Of another device.
        let other = TokenStore::new(folder.path(), device(&"d".repeat(DeviceId::MAX_CHARS)));
        let longest = token(&"t".repeat(Token::MAX_CHARS), u64::MAX);
        other.save(&longest).unwrap();
        assert_eq!(other.load().unwrap(), Some(longest));
        assert_eq!(store.load().unwrap(), None);
    }

    #[test]
    fn a_store_in_use_is_neither_read_nor_changed() {
        let (folder, first) = fresh();
        first.save(&numbered(1)).unwrap();
        let users = [(); 2].map(|()| DataDir::new(folder.path()));
        users[0].lock().unwrap();
        let store = TokenStore::new(&users[1], device("nerves-242a"));
        let attempts: [&dyn Fn() -> Result<(), StoreError>; 4] = [
            &|| store.check_lock(),
            &|| store.load().map(drop),
            &|| store.save(&numbered(2)),
            &|| store.forget(),
        ];
        for attempt in attempts {
            assert!(matches!(attempt(), Err(StoreError::InUse { .. })));
        }
        assert_eq!(first.load().unwrap(), Some(numbered(1)));
        drop(users);
        for attempt in attempts {
            attempt().unwrap();
        }
    }

    #[test]
    fn a_body_with_unexpected_content_is_not_understood() {
        let good = "device a\nexpires 1\ntoken t\n";
        assert!(parse(good).is_some());
        for bad in [
            "",
            "device a\nexpires 1\n",
            "device a\nexpires 1\ntoken t\nmore\n",
            "device a b\nexpires 1\ntoken t\n",
            "device a\nexpires -1\ntoken t\n",
            "device a\nexpires 1\ntoken \n",
            "expires 1\ndevice a\ntoken t\n",
        ] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }

    const WRITE_IN: &str = "FEDECKS_TEST_WRITE_TOKENS_IN";
    const WRITER: &str = "storage::token::tests::child_process_that_writes_tokens_until_killed";

    /// Not a test by itself: the next one starts and kills it.
    #[test]
    fn child_process_that_writes_tokens_until_killed() {
        let Some(directory) = std::env::var_os(WRITE_IN) else { return };
        let store = TokenStore::new(Path::new(&directory), device("nerves-242a"));
        for number in 0.. {
            store.save(&numbered(number)).unwrap();
            println!("\nsaved {number}");
        }
    }

    #[test]
    fn a_killed_writer_leaves_its_last_token_or_the_next_one() {
        let (folder, store) = fresh();
        let mut interrupted = 0;
        for round in 0..120_u64 {
            let mut writer = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture", WRITER])
                .env(WRITE_IN, folder.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
            let saved = |line: std::io::Result<String>| {
                line.unwrap().strip_prefix("saved ").map(|number| number.parse::<u64>().unwrap())
            };
            let mut last = lines.by_ref().find_map(saved).unwrap();
            // Varies the moment in steps that are unrelated to the duration of a write.
            std::thread::park_timeout(Duration::from_micros(round * 37 % 4_000));
            writer.kill().unwrap();
            writer.wait().unwrap();
            for line in lines {
                last = saved(line).unwrap_or(last);
            }
            // The write that it had finished, or the one that it was about to finish.
            let loaded = store.load().unwrap().unwrap();
            let number = loaded.expires_at;
            assert!((last..=last + 1).contains(&number), "round {round}: {last}, then {number}");
            assert_eq!(loaded, numbered(number), "round {round}");
            interrupted += u32::from(folder.path().join("token.new").exists());
        }
        assert!(interrupted > 0, "no write was ever interrupted");
        store.save(&numbered(7)).unwrap();
        assert!(!folder.path().join("token.new").exists());
    }
}
