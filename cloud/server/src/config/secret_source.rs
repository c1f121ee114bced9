//! Where the secrets come from: the file, the environment, files of their own, or this program.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fedecks_cloud::Keyring;
use fedecks_cloud::auth::KeyringError;

use super::error::{ConfigError, Places};
use super::raw::Former;
use super::secret::{Secret, generate, generate_salt};

/// Where the keys of the tokens come from. They are read when the server needs them and not before:
/// the commands for accounts may run without the right to read them.
#[derive(Debug)]
pub(crate) struct Secrets {
    sealing: Pair,
    former: Vec<Pair>,
    places: Places,
}

/// A secret and its salt.
#[derive(Debug)]
struct Pair {
    secret: Source,
    salt: Source,
}

#[derive(Debug, Clone)]
pub(super) enum Source {
    Given {
        key: String,
        value: Secret,
    },
    File {
        key: String,
        file: PathBuf,
    },
    /// Made when it is asked for first, and kept in this file.
    Made {
        file: PathBuf,
        make: fn() -> io::Result<Secret>,
    },
}

impl Secrets {
    /// With a configuration file the secret has to be in it or in the environment, so that no server
    /// runs for long on one that nobody knows of; without one it is made and kept in `data_dir`.
    pub(super) fn check(
        sealing: Former,
        former: Vec<Former>,
        data_dir: &Path,
        places: Places,
    ) -> Result<Self, ConfigError> {
        let secret = Source::check(sealing.secret, sealing.secret_file, "", "secret", &places)?;
        let salt = Source::check(sealing.salt, sealing.salt_file, "", "salt", &places)?;
        let sealing = match (secret, salt) {
            (Some(secret), Some(salt)) => Pair { secret, salt },
            (Some(_), None) => {
                return Err(
                    places.wrong("salt", "is missing beside secret, expected salt or salt_file")
                );
            }
            (None, Some(_)) => {
                return Err(places
                    .wrong("secret", "is missing beside salt, expected secret or secret_file"));
            }
            (None, None) if places.has_file() => {
                let problem = "is missing, expected secret and salt, or secret_file and salt_file \
                               (`fedecks-cloud secret generate` makes them)";
                return Err(places.wrong("secret", problem));
            }
            (None, None) => Pair {
                secret: Source::Made { file: data_dir.join("secret"), make: generate },
                salt: Source::Made { file: data_dir.join("salt"), make: generate_salt },
            },
        };
        let former = former
            .into_iter()
            .map(|pair| {
                let missing = |key: &str| places.wrong(key, "is missing in one of [[former]]");
                let secret =
                    Source::check(pair.secret, pair.secret_file, "former.", "secret", &places)?
                        .ok_or_else(|| missing("former.secret"))?;
                let salt = Source::check(pair.salt, pair.salt_file, "former.", "salt", &places)?
                    .ok_or_else(|| missing("former.salt"))?;
                Ok(Pair { secret, salt })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { sealing, former, places })
    }

    /// Whether the secret is made by this program, in the data directory.
    pub(crate) fn are_made(&self) -> bool {
        matches!(self.sealing.secret, Source::Made { .. })
    }

    /// Reads the secrets, or makes them, and derives the keys from them.
    pub(crate) fn keyring(&self) -> Result<Keyring, ConfigError> {
        let Pair { secret, salt } = &self.sealing;
        let wrong = |pair: &Pair, error: KeyringError| {
            let source = match error {
                KeyringError::ShortSecret { .. } => &pair.secret,
                KeyringError::ShortSalt { .. } => &pair.salt,
            };
            source.wrong(&self.places, &error.to_string())
        };
        let mut keyring =
            Keyring::new(secret.read(&self.places)?.expose(), salt.read(&self.places)?.expose())
                .map_err(|error| wrong(&self.sealing, error))?;
        for pair in &self.former {
            let secret = pair.secret.read(&self.places)?;
            let salt = pair.salt.read(&self.places)?;
            keyring = keyring
                .with_previous_key(secret.expose(), salt.expose())
                .map_err(|error| wrong(pair, error))?;
        }
        Ok(keyring)
    }
}

impl Source {
    pub(super) fn check(
        value: Option<Secret>,
        file: Option<PathBuf>,
        table: &str,
        name: &str,
        places: &Places,
    ) -> Result<Option<Self>, ConfigError> {
        match (value, file) {
            (None, None) => Ok(None),
            (Some(value), None) => Ok(Some(Self::Given { key: format!("{table}{name}"), value })),
            (None, Some(file)) => Ok(Some(Self::File { key: format!("{table}{name}_file"), file })),
            (Some(_), Some(_)) => {
                let problem =
                    format!("stands beside {table}{name}_file, expected only one of them");
                Err(places.wrong(&format!("{table}{name}"), &problem))
            }
        }
    }

    pub(super) fn read(&self, places: &Places) -> Result<Secret, ConfigError> {
        let read = |file: &Path| {
            let text = fs::read_to_string(file)?;
            Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
        };
        let (file, secret) = match self {
            Self::Given { value, .. } => return Ok(value.clone()),
            Self::File { file, .. } => (file, read(file)),
            Self::Made { file, make } => (file, make_once(file, *make).and_then(|()| read(file))),
        };
        secret.map_err(|error: io::Error| {
            self.wrong(places, &format!("cannot read {}: {error}", file.display()))
        })
    }

    pub(super) fn wrong(&self, places: &Places, problem: &str) -> ConfigError {
        match self {
            Self::Given { key, .. } | Self::File { key, .. } => places.wrong(key, problem),
            Self::Made { file, .. } => ConfigError::Wrong {
                place: file.display().to_string(),
                key: String::new(),
                problem: problem.into(),
            },
        }
    }
}

/// Makes `file` whole or not at all: two processes that start at once end up with the same secret.
fn make_once(file: &Path, make: fn() -> io::Result<Secret>) -> io::Result<()> {
    if file.exists() {
        return Ok(());
    }
    let unfinished = file.with_extension(format!("{}.new", std::process::id()));
    let mut writing =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    writeln!(writing, "{}", make()?.expose())?;
    writing.sync_all()?;
    let linked = fs::hard_link(&unfinished, file);
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
