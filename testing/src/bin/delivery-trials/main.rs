//! Trials of delivery: pairs of the real server and the real device service, with an application at each end, between
//! which links are cut and programs are killed by a seed. Run by `ci/delivery-test`, which builds the programs.

// A trial fails by panicking, like the helpers that it uses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cloud_application;
mod device_application;
mod faults;
mod injection;
mod keep;
mod options;
mod pair;
mod partition;
mod report;
mod store;
mod trial;

use std::process::ExitCode;

use fedecks_testing::trials;
use tokio::task::{JoinSet, LocalSet, spawn_local};

use self::options::{Options, USAGE};
use self::report::{Report, Summary};

#[expect(clippy::print_stderr, reason = "this is a program for a terminal")]
fn main() -> ExitCode {
    let options = match trials::options("delivery-trials", USAGE, options::parse()) {
        Ok(options) => options,
        Err(status) => return status,
    };
    if options.has_partition() {
        if let Err(error) = partition::enter_namespace() {
            eprintln!("delivery-trials: cannot have a data partition: {error}; are you root?");
            return ExitCode::from(2);
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let summary = LocalSet::new().block_on(&runtime, run(&options));
    eprintln!("delivery-trials: {summary}");
    match summary.problem(&options) {
        None => ExitCode::SUCCESS,
        Some(problem) => {
            eprintln!("delivery-trials: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all trials, several at once, and prints a line of JSON for each.
#[expect(clippy::print_stdout, reason = "this is a program for a terminal")]
async fn run(options: &Options) -> Summary {
    let mut summary = Summary::default();
    let mut running = JoinSet::new();
    let mut seeds = (0..options.trials).map(|trial| options.seed.wrapping_add(trial));
    loop {
        while running.len() < options.pairs {
            let Some(seed) = seeds.next() else { break };
            let options = options.clone();
            running.spawn_local(async move {
                // A separate task, so that a panic is the failure of this trial only.
                let trial = spawn_local(trial::run(seed, options.clone())).await;
                trial.unwrap_or_else(|error| Report::failed(seed, &options, &error))
            });
        }
        let Some(report) = running.join_next().await else { return summary };
        let report = report.unwrap();
        println!("{}", report.json());
        summary.add(&report);
    }
}
