//! Inputs of the targets for configurations: a file, and after a zero byte the variables of the environment, a
//! `NAME=VALUE` per line.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A configuration as the program finds it.
pub struct ConfigInput {
    /// The file, which this process writes again for each input.
    pub file: PathBuf,
    /// The environment.
    pub variables: HashMap<OsString, OsString>,
}

impl ConfigInput {
    /// Writes the file.
    pub fn new(bytes: &[u8]) -> Self {
        let mut parts = bytes.splitn(2, |&byte| byte == 0);
        let folder = Path::new("/dev/shm");
        let folder = if folder.is_dir() { folder.to_owned() } else { std::env::temp_dir() };
        let file = folder.join(format!("fedecks-fuzz-{}.toml", std::process::id()));
        fs::write(&file, parts.next().unwrap_or_default()).expect("the file can be written");
        let lines = parts.next().unwrap_or_default().split(|&byte| byte == b'\n');
        let variables = lines.filter_map(|line| {
            let at = line.iter().position(|&byte| byte == b'=')?;
            let [name, value] =
                [&line[..at], &line[at + 1..]].map(|it| OsString::from_vec(it.to_vec()));
            Some((name, value))
        });
        Self { file, variables: variables.collect() }
    }

    /// Panics unless an error is one line that names the file or a variable, and then says more.
    pub fn assert_complete(&self, error: &str) {
        assert!(!error.contains('\n'), "more than one line: {error:?}");
        let place = self.file.display().to_string();
        let rest = error.split_once(&place).map(|(_, rest)| rest);
        let rest = rest.or_else(|| error.split_once("FEDECKS_").map(|(_, rest)| rest));
        let rest =
            rest.unwrap_or_else(|| panic!("names neither the file nor a variable: {error:?}"));
        assert!(rest.trim_matches(|c: char| !c.is_alphanumeric()).len() > 3, "no cause: {error:?}");
    }
}
