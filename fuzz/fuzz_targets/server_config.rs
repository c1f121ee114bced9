//! Reads any bytes as the configuration of the server, with any environment: no panic, and an error is a line that
//! names its place. The target contains the configuration's own files: the rest of the server takes minutes to
//! build.
#![no_main]
#![allow(dead_code, unused_imports, reason = "what only the rest of the server uses")]

use std::ffi::OsStr;

use fedecks_fuzz::ConfigInput;
use libfuzzer_sys::fuzz_target;

#[path = "../../cloud/server/src/config/mod.rs"]
mod config;
#[path = "../../cloud/server/src/event_kind.rs"]
mod event_kind;
#[path = "../../cloud/server/src/request_memory.rs"]
mod request_memory;
#[path = "../../cloud/server/src/webhook_signature.rs"]
mod webhook_signature;

use config::{Config, Overrides};

fuzz_target!(|bytes: &[u8]| {
    let input = ConfigInput::new(bytes);
    match Config::load(
        Some(&input.file),
        |name| input.variables.get(OsStr::new(name)).cloned(),
        Overrides::default(),
    ) {
        Ok(config) => {
            assert!(!config.listeners.is_empty(), "nothing to listen on");
            // For `check-config`. The secrets are not read, as that generates them.
            let _ = format!("{config:?}");
        }
        Err(error) => input.assert_complete(&error.to_string()),
    }
});
