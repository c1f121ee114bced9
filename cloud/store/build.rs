//! Embeds the build time: a clock that shows an earlier time is known to be wrong.

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.trim().parse::<u64>().map_err(|error| {
            format!("SOURCE_DATE_EPOCH is {text:?}, expected seconds since 1970: {error}")
        })?,
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    println!("cargo:rustc-env=FEDECKS_BUILD_TIME={seconds}");
    Ok(())
}
