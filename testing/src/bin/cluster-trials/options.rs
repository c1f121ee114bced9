//! The command line of the trials.

use std::path::PathBuf;
use std::time::Duration;

use fedecks_testing::trials::Command;
use lexopt::prelude::*;

use crate::faults::Kind;
use crate::mode::Mode;

pub(crate) const USAGE: &str = "\
Usage: cluster-trials [OPTION...]

Runs three servers (the program fedecks-cloud from its folder), PostgreSQL and nats-server in network namespaces, with
devices and applications, injects faults, and checks what was promised. Prints one JSON object per trial, with the seed
that repeats its faults. Exits with 1 if a trial violates a rule or cannot be completed. Needs root.

  --trials N        how many, one after the other (1)
  --seed N          of the first trial; each further one has the next (1)
  --mode MODE       standby: one server serves, and the others take over; several: all serve (standby)
  --seconds N       for how long faults are injected in a trial (40)
  --devices N       how many come, go and move; a sixth as many more are revoked (24)
  --steady          devices stay connected and, when their server ends, come back to another one after the time that it
                    asked for; all together send what 24 would. For thousands of devices and the fault upgrade
  --faults LIST     only these, separated by commas: kill-node stop-node kill-postgres quit-postgres stop-postgres
                    cut-postgres mute-postgres deaf-postgres long-write clock, and with --mode several: upgrade kill-nats
                    stop-nats cut-nats mute-nats deaf-nats cut-both (all of the mode)
  --evidence FILE   write the lines and their summary to FILE, too
  --histories DIR   write the history and the logs of each trial that is not clean to files in DIR";

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) trials: u64,
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    pub(crate) duration: Duration,
    pub(crate) devices: usize,
    pub(crate) is_steady: bool,
    pub(crate) faults: Vec<Kind>,
    pub(crate) evidence: Option<PathBuf>,
    pub(crate) histories: Option<PathBuf>,
}

pub(crate) fn parse() -> Result<Command<Options>, lexopt::Error> {
    let mut options = Options {
        trials: 1,
        seed: 1,
        mode: Mode::Standby,
        duration: Duration::from_secs(40),
        devices: 24,
        is_steady: false,
        faults: Vec::new(),
        evidence: None,
        histories: None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("trials") => options.trials = parser.value()?.parse()?,
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("mode") => options.mode = parser.value()?.parse()?,
            Long("seconds") => options.duration = Duration::from_secs(parser.value()?.parse()?),
            Long("devices") => options.devices = parser.value()?.parse_with(some_devices)?,
            Long("steady") => options.is_steady = true,
            Long("faults") => {
                let list = parser.value()?.string()?;
                options.faults = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
            }
            Long("evidence") => options.evidence = Some(parser.value()?.into()),
            Long("histories") => options.histories = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok(Command::Help),
            Short(_) | Long(_) | Value(_) => return Err(argument.unexpected()),
        }
    }
    let all = Kind::all(options.mode);
    if options.faults.is_empty() {
        options.faults = all;
    } else if options.faults.iter().any(|kind| !all.contains(kind)) {
        return Err("upgrade and the faults of nats-server are for --mode several".into());
    }
    Ok(Command::Run(options))
}

/// A page of the presence has all of them.
fn some_devices(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=4_000) => Ok(number),
        _ => Err("expected a whole number from 1 to 4000".to_owned()),
    }
}
