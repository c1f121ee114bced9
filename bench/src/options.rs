//! The command line of the bench.

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::drain::devices::Task;
use crate::error::Result;
use crate::server::{Kind, ServeOptions};

pub(crate) const USAGE: &str = "\
Usage: fedecks-bench [OPTION...]

Measures our server (fedecks-cloud) next to others, in turn, and prints the medians. Exits with an error if anything was lost.

  --quick               small sizes, for CI
  --json                one JSON object a line
  --only NAME           only one of: idle-plaintext idle-tls echo handshake footprint
                        storm storm-tls live kept drain hostile idle-many handshake-tls lists soak
  --repeats N           how often each server is measured
  --connections N       idle connections, for memory and pings
  --many N              idle connections of idle-many, of which there is one run
  --pings-per-second N  pings over all of them
  --ping-rounds N       pings on each of them
  --echoes N            messages echoed, over 50 connections
  --handshakes N        connections opened and closed, 16 at once
  --server NAME         only one of: fedecks-cloud tokio-tungstenite floor
                        fastwebsockets tokio-websockets
  --under COMMAND       start the servers by this command, such as a profiler
  --fedecksd FILE       the device service to measure, built with --profile device, and the command
                        fedecks in the same folder
  --fedecks-cloud FILE  the server program to measure, built with --release
  --storm N             devices that come back at once
  --tls-storm N         devices that come back at once over TLS
  --live-messages N     messages to 100 readers of the server's events, and by its API to a device
  --kept-messages N     kept messages from 50 devices
  --taken-messages N    kept messages to devices
  --taking-devices N    these devices
  --drain N             devices that take what waits for them at the same time
  --list-devices N      devices in the lists, of which those of --connections are connected
  --list-requests N     requests of each kind; without --quick 99 of 100 must take at most 50 ms
  --attack-seconds N    how long each attack lasts
  --soak-devices N      devices that come and go; `soak` runs with --only soak, or a short one with --quick
  --soak-minutes N      for how long
  --soak-seed N         of what they do
  --evidence FILE       what the soak writes each minute, one JSON object a line
  --rest-intervals N    ping intervals of 19 s over which the service's wake-ups are counted

  server NAME           be a server until the standard input ends (the other process)
  devices ADDRESS FROM COUNT EACH
                        be devices that take EACH messages (further processes)";

pub(crate) enum Command {
    Help,
    Serve(ServeOptions),
    Devices(Task),
    Measure(Options),
}

/// How much is measured.
pub(crate) struct Options {
    pub(crate) json: bool,
    pub(crate) only: Option<Bench>,
    pub(crate) repeats: usize,
    pub(crate) connections: usize,
    pub(crate) many_connections: usize,
    pub(crate) pings_per_second: u32,
    pub(crate) ping_rounds: usize,
    pub(crate) echoes: usize,
    pub(crate) handshakes: usize,
    pub(crate) server: Option<Kind>,
    /// Words that precede a server's command line.
    pub(crate) under: Vec<String>,
    pub(crate) fedecksd: Option<PathBuf>,
    pub(crate) rest_intervals: u32,
    pub(crate) fedecks_cloud: Option<PathBuf>,
    pub(crate) storm: usize,
    pub(crate) tls_storm: usize,
    pub(crate) live_messages: usize,
    pub(crate) kept_messages: usize,
    pub(crate) taken_messages: usize,
    pub(crate) taking_devices: usize,
    pub(crate) drain: usize,
    pub(crate) list_devices: usize,
    pub(crate) list_requests: usize,
    /// Whether a slow answer is a failure.
    pub(crate) list_limit: bool,
    pub(crate) attack_seconds: u64,
    pub(crate) soak: Soak,
}

/// What devices that come and go do.
#[derive(Debug, Clone)]
pub(crate) struct Soak {
    pub(crate) devices: usize,
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
    /// Where the samples are written.
    pub(crate) evidence: Option<PathBuf>,
    /// Whether it runs without being asked for.
    by_itself: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bench {
    IdlePlaintext,
    IdleMany,
    IdleTls,
    Echo,
    Handshake,
    HandshakeTls,
    Footprint,
    Storm,
    StormTls,
    Live,
    Kept,
    Drain,
    Hostile,
    Lists,
    Soak,
}

impl Bench {
    const ALL: [Self; 15] = [
        Self::IdlePlaintext,
        Self::IdleMany,
        Self::IdleTls,
        Self::Echo,
        Self::Handshake,
        Self::HandshakeTls,
        Self::Footprint,
        Self::Storm,
        Self::StormTls,
        Self::Live,
        Self::Kept,
        Self::Drain,
        Self::Hostile,
        Self::Lists,
        Self::Soak,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::IdlePlaintext => "idle-plaintext",
            Self::IdleMany => "idle-many",
            Self::IdleTls => "idle-tls",
            Self::Echo => "echo",
            Self::Handshake => "handshake",
            Self::HandshakeTls => "handshake-tls",
            Self::Footprint => "footprint",
            Self::Storm => "storm",
            Self::StormTls => "storm-tls",
            Self::Live => "live",
            Self::Kept => "kept",
            Self::Drain => "drain",
            Self::Hostile => "hostile",
            Self::Lists => "lists",
            Self::Soak => "soak",
        }
    }

    fn named(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|bench| bench.name() == name)
            .ok_or_else(|| format!("no benchmark is called {name:?}; see --help").into())
    }
}

impl Options {
    fn full() -> Self {
        Self {
            json: false,
            only: None,
            repeats: 3,
            connections: 5_000,
            many_connections: 15_000,
            pings_per_second: 1_000,
            ping_rounds: 2,
            echoes: 200_000,
            handshakes: 4_000,
            server: None,
            under: Vec::new(),
            fedecksd: None,
            rest_intervals: 10,
            fedecks_cloud: None,
            storm: 10_000,
            tls_storm: 4_000,
            live_messages: 500,
            kept_messages: 200_000,
            taken_messages: 20_000,
            taking_devices: 50,
            drain: 10_000,
            list_devices: 100_000,
            list_requests: 1_000,
            list_limit: true,
            attack_seconds: 30,
            soak: Soak {
                devices: 10_000,
                seconds: 3_600,
                seed: 1,
                evidence: None,
                by_itself: false,
            },
        }
    }

    fn quick() -> Self {
        let full = Self::full();
        Self {
            connections: 1_000,
            many_connections: 2_000,
            ping_rounds: 1,
            echoes: 50_000,
            handshakes: 1_000,
            rest_intervals: 2,
            storm: 1_000,
            tls_storm: 500,
            live_messages: 150,
            kept_messages: 20_000,
            taken_messages: 1_000,
            drain: 1_000,
            list_devices: 20_000,
            list_requests: 100,
            list_limit: false,
            attack_seconds: 4,
            soak: Soak { devices: 300, seconds: 8, by_itself: true, ..full.soak.clone() },
            ..full
        }
    }

    pub(crate) fn wants(&self, bench: Bench) -> bool {
        let by_itself = bench != Bench::Soak || self.soak.by_itself;
        self.only.map_or(by_itself, |only| only == bench)
    }

    pub(crate) fn serves(&self, kind: Kind) -> bool {
        self.server.is_none_or(|only| only == kind)
    }
}

pub(crate) fn parse() -> Result<Command> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let mut options = if quick { Options::quick() } else { Options::full() };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("quick") => {}
            Long("json") => options.json = true,
            Long("only") => options.only = Some(Bench::named(&parser.value()?.string()?)?),
            Long("repeats") => options.repeats = positive(&mut parser)?,
            Long("connections") => options.connections = positive(&mut parser)?,
            Long("many") => options.many_connections = positive(&mut parser)?,
            Long("pings-per-second") => options.pings_per_second = positive(&mut parser)?,
            Long("ping-rounds") => options.ping_rounds = positive(&mut parser)?,
            Long("echoes") => options.echoes = positive(&mut parser)?,
            Long("handshakes") => options.handshakes = positive(&mut parser)?,
            Long("server") => options.server = Some(Kind::named(&parser.value()?.string()?)?),
            Long("under") => {
                let command = parser.value()?.string()?;
                options.under = command.split_whitespace().map(str::to_owned).collect();
            }
            Long("rest-intervals") => options.rest_intervals = positive(&mut parser)?,
            Long("fedecks-cloud") => options.fedecks_cloud = Some(parser.value()?.into()),
            Long("storm") => options.storm = positive(&mut parser)?,
            Long("tls-storm") => options.tls_storm = positive(&mut parser)?,
            Long("live-messages") => options.live_messages = positive(&mut parser)?,
            Long("kept-messages") => options.kept_messages = positive(&mut parser)?,
            Long("taken-messages") => options.taken_messages = positive(&mut parser)?,
            Long("taking-devices") => options.taking_devices = positive(&mut parser)?,
            Long("drain") => options.drain = positive(&mut parser)?,
            Long("list-devices") => options.list_devices = positive(&mut parser)?,
            Long("list-requests") => options.list_requests = positive(&mut parser)?,
            Long("attack-seconds") => options.attack_seconds = positive(&mut parser)?,
            Long("soak-devices") => options.soak.devices = positive(&mut parser)?,
            Long("soak-minutes") => options.soak.seconds = 60 * positive::<u64>(&mut parser)?,
            Long("soak-seed") => options.soak.seed = positive(&mut parser)?,
            Long("evidence") => options.soak.evidence = Some(parser.value()?.into()),
            Long("fedecksd") => options.fedecksd = Some(parser.value()?.into()),
            Value(value) if value == "server" => return serve(&mut parser),
            Value(value) if value == "devices" => return devices(&mut parser),
            Short(_) | Long(_) | Value(_) => return Err(argument.unexpected().into()),
        }
    }
    Ok(Command::Measure(options))
}

fn serve(parser: &mut lexopt::Parser) -> Result<Command> {
    let kind = Kind::named(&parser.value()?.string()?)?;
    let (mut certificate, mut key, mut folder) = (None, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("certificate") => certificate = Some(parser.value()?.into()),
            Long("key") => key = Some(parser.value()?.into()),
            Long("folder") => folder = Some(parser.value()?.into()),
            Short(_) | Long(_) | Value(_) => return Err(argument.unexpected().into()),
        }
    }
    let folder = folder.ok_or("the server needs a --folder for its data")?;
    Ok(Command::Serve(ServeOptions { kind, tls: certificate.zip(key), folder }))
}

fn devices(parser: &mut lexopt::Parser) -> Result<Command> {
    let mut value = || parser.value()?.string();
    let address = value()?.parse()?;
    let [from, count, each] = [value()?, value()?, value()?];
    let (from, count, each) = (from.parse()?, count.parse()?, each.parse()?);
    Ok(Command::Devices(Task { address, from, count, each }))
}

fn positive<T>(parser: &mut lexopt::Parser) -> Result<T>
where
    T: std::str::FromStr + Default + PartialEq,
    T::Err: Into<crate::error::Error>,
{
    let text = parser.value()?.string()?;
    let number = text.parse::<T>().map_err(Into::into)?;
    if number == T::default() {
        return Err("expected a number of at least 1".into());
    }
    Ok(number)
}
