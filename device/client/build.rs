//! Embeds the build time: a clock that shows an earlier time is known to be wrong.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.trim().parse::<u64>().map_err(|error| {
            format!("SOURCE_DATE_EPOCH is {text:?}, expected seconds since 1970: {error}")
        })?,
        // Without optimization it is a build of a developer, who does not want a rebuild after each commit.
        Err(_) if std::env::var("OPT_LEVEL").is_ok_and(|level| level == "0") => now,
        Err(_) => last_commit().map_or(now, |commit| commit.min(now)),
    };
    println!("cargo:rustc-env=FEDECKS_BUILD_TIME={seconds}");
    Ok(())
}

/// The time of the last commit, so that two builds of it are the same; none outside a git checkout.
fn last_commit() -> Option<u64> {
    let seconds = git(&["log", "-1", "--format=%ct"])?.parse().ok()?;
    // Changes with every commit and checkout.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    Some(seconds)
}

/// What git prints about the checkout that contains this directory, also if another user owns it.
fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(["-c", "safe.directory=*"]).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
