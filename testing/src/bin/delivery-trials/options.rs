//! The command line of the trials.

use std::path::PathBuf;
use std::time::Duration;

use fedecks_testing::trials::Command;
use lexopt::prelude::*;

use crate::faults::Kind;
use crate::keep::Keep;

pub(crate) const USAGE: &str = "\
Usage: delivery-trials [OPTION...]

Runs the programs fedecks-cloud, fedecksd and fedecks from its folder in pairs, sends messages in both directions,
injects faults, and checks what arrives against what was accepted. Prints one JSON object per trial, with the
seed that repeats its faults. Exits with 1 if a trial violates what its messages were promised.

  --trials N        how many (10)
  --pairs N         how many at once (4)
  --seed N          of the first trial; each further one has the next (1)
  --seconds N       for how long faults are injected in a trial (6)
  --keep MODE       what is asked for each message: none, where one that the cloud has not confirmed may be lost (none);
                    memory, disk, or stored, where the sender waits for that
  --faults LIST     only these, separated by commas: cut reset slow kill-device kill-cloud kill-both (all of them), and
                    with --keep disk: full read-only lost wiped copied restored, of the device's data partition, and
                    store-restored, of the server. Those of the partition need root and loop devices
  --expect-losses   fail unless some trial has lost a message, to prove that losses are seen
  --histories DIR   write the history and the logs of each trial that is not clean to files in DIR";

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) trials: u64,
    pub(crate) pairs: usize,
    pub(crate) seed: u64,
    pub(crate) duration: Duration,
    pub(crate) keep: Keep,
    pub(crate) faults: Vec<Kind>,
    pub(crate) expect_losses: bool,
    pub(crate) histories: Option<PathBuf>,
}

pub(crate) fn parse() -> Result<Command<Options>, lexopt::Error> {
    let mut options = Options {
        trials: 10,
        pairs: 4,
        seed: 1,
        duration: Duration::from_secs(6),
        keep: Keep::None,
        faults: Kind::USUAL.to_vec(),
        expect_losses: false,
        histories: None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("trials") => options.trials = parser.value()?.parse()?,
            Long("pairs") => options.pairs = parser.value()?.parse_with(at_least_one)?,
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("seconds") => options.duration = Duration::from_secs(parser.value()?.parse()?),
            Long("keep") => options.keep = parser.value()?.parse()?,
            Long("faults") => {
                let list = parser.value()?.string()?;
                options.faults = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
            }
            Long("expect-losses") => options.expect_losses = true,
            Long("histories") => options.histories = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok(Command::Help),
            Short(_) | Long(_) | Value(_) => return Err(argument.unexpected()),
        }
    }
    let is_of_storage = options.faults.iter().any(|kind| Kind::STORAGE.contains(kind));
    if is_of_storage && options.keep != Keep::Disk {
        return Err("faults of the storage are for --keep disk".into());
    }
    Ok(Command::Run(options))
}

impl Options {
    /// Whether the device has a data partition.
    pub(crate) fn has_partition(&self) -> bool {
        self.faults.iter().any(|kind| kind.is_of_partition())
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("expected a whole number above 0".to_owned()),
    }
}
