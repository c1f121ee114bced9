//! Tells the device when it was built: the floor below which a clock is known to be wrong. And makes its
//! programs smaller.

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
    pack_relocations();
    Ok(())
}

/// In a build for size: relocations in 2 KB instead of 140 KB, all of which are read at each start and
/// stay in memory. The C library has to know this form, glibc since 2.36, musl since 1.2.4; for an older
/// one set `FEDECKS_PACKED_RELOCATIONS=0`. GNU ld before 2.38 says that it ignores the option. A program
/// with its C library inside has the one that Rust brings, which is older for musl before Rust 1.93.
fn pack_relocations() {
    const SWITCH: &str = "FEDECKS_PACKED_RELOCATIONS";
    println!("cargo:rerun-if-env-changed={SWITCH}");
    let for_size = std::env::var("OPT_LEVEL").is_ok_and(|level| level == "z" || level == "s");
    let forbidden = std::env::var(SWITCH).is_ok_and(|value| value == "0");
    let brings_its_own = std::env::var("CARGO_CFG_TARGET_FEATURE")
        .is_ok_and(|features| features.split(',').any(|feature| feature == "crt-static"));
    if for_size && !forbidden && !brings_its_own {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
