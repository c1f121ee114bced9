//! Trials of several servers on one database: with real servers, PostgreSQL and nats-server in network namespaces, with
//! devices and applications, under faults by a seed. Run by `ci/cluster-test`, which builds the programs.

// A trial fails by panicking, like the helpers that it uses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod application;
mod cluster;
mod device;
mod faults;
mod mode;
mod network;
mod node;
mod observers;
mod options;
mod receiver;
mod report;
mod session;
mod trial;
mod world;

use std::process::ExitCode;

use fedecks_testing::trials;
use tokio::task::{LocalSet, spawn_local};

use self::options::{Options, USAGE};
use self::report::{Report, Summary};

#[expect(clippy::print_stderr, reason = "this is a program for a terminal")]
fn main() -> ExitCode {
    let options = match trials::options("cluster-trials", USAGE, options::parse()) {
        Ok(options) => options,
        Err(status) => return status,
    };
    if let Err(error) = network::enter_namespace() {
        eprintln!("cluster-trials: cannot have network namespaces: {error}; are you root?");
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(summary) = LocalSet::new().block_on(&runtime, run(&options)) else {
        return ExitCode::from(2);
    };
    eprintln!("cluster-trials: {summary}");
    if summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all trials, and prints a line of JSON for each. `None` if something that they need is not installed.
#[expect(clippy::print_stdout, reason = "this is a program for a terminal")]
async fn run(options: &Options) -> Option<Summary> {
    let mut summary = Summary::default();
    let mut evidence = String::new();
    network::make_bridge().await;
    for number in 0..options.trials {
        let seed = options.seed.wrapping_add(number);
        let options = options.clone();
        let mode = options.mode;
        // A separate task, so that a panic is the failure of this trial only.
        let trial = spawn_local(async move { trial::run(seed, &options).await }).await;
        let report = match trial {
            Ok(report) => report?,
            Err(error) => Report::failed(seed, mode, error.to_string()),
        };
        println!("{}", report.json());
        evidence += &format!("{}\n", report.json());
        summary.add(&report);
    }
    if let Some(file) = &options.evidence {
        std::fs::write(file, format!("{evidence}{summary}\n")).unwrap();
    }
    Some(summary)
}
