//! The directory for the server's own files.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use crate::config::Config;
use crate::error::ServerError;

pub(crate) fn create_data_dir(config: &Config) -> Result<(), ServerError> {
    DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir).map_err(ServerError::io(
        format!("create the data directory {}", config.data_dir.display()),
    ))
}
