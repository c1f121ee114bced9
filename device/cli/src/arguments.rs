//! The command line's arguments, and their help.

// The doc comments are the help text: JSON in brackets looks like a link.
#![allow(rustdoc::broken_intra_doc_links)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fedecks_common::HumanDuration;

/// The end of every help text and man page.
pub(crate) const EXIT_STATUS: &str = "\
Exit status:
  0    success, even if the reader closed the output early
  1    any other failure
  2    invalid arguments or input
  3    fedecksd or the system bus is not running
  4    permission denied
  5    rejected by the cloud
  6    no answer in time
  7    not connected or not logged in
  8    sent, but not confirmed by the cloud: it may have arrived
  130  interrupted by Ctrl-C (generally 128 plus the signal number)";

/// The values of the property `State`.
const STATES: [&str; 8] =
    ["loading", "unregistered", "late", "offline", "waiting", "dialing", "connected", "closed"];

/// Control fedecksd, the service that keeps this device connected to its cloud.
///
/// Uses the system bus, at the address in DBUS_SYSTEM_BUS_ADDRESS if set. Requires root or membership in
/// the group fedecks. Data is written to standard output, messages to standard error.
#[derive(Debug, Parser)]
#[command(name = "fedecks", version, after_help = EXIT_STATUS)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Log this device in
    ///
    /// With a claim, or with a username and a password, for which it prompts unless they are given by
    /// options. The cloud issues a token, which reconnects the device from then on, even after a reboot. Waits
    /// 20 seconds for the cloud; after that, the login stays pending in the service until the cloud answers. On
    /// a terminal it waits longer while an operator has to approve the device, or while its id is in use.
    Login(Login),
    /// Close the connection and delete the token
    Logout,
    /// Send a value to the cloud
    ///
    /// Now or not at all, unless --keep is given. Success means that the cloud has read the value. The exit
    /// status is 7 if there is no connection, and 8 if the value was sent and the cloud did not confirm it. Says
    /// so on a terminal.
    ///
    /// With --keep the value waits for the cloud, with a connection or without, and its id is printed as soon
    /// as it waits. It is sent again after each loss of the connection, until the cloud has stored it.
    Send {
        /// The value as JSON, or - to read it from standard input
        ///
        /// Values that JSON cannot express are written as an object with one key: {"$bytes":"aGk="},
        /// {"$int":"340282366920938463463"}, {"$float":"NaN"}, {"$tuple":[1,2]}, {"$atom":"ok"},
        /// {"$map":[[1,"one"]]}.
        #[arg(value_name = "JSON", allow_negative_numbers = true)]
        message: String,
        /// Take the JSON as it is: {"$ref":1} is a map with the key $ref, and nothing is an escape
        #[arg(long)]
        literal: bool,
        #[command(flatten)]
        keep: Keep,
    },
    /// Send raw bytes to the cloud
    ///
    /// Like send.
    SendRaw {
        /// The file to send, or - for standard input
        file: PathBuf,
        #[command(flatten)]
        keep: Keep,
    },
    /// Ask the cloud, and print its answer as one line of JSON
    ///
    /// Now or not at all. The exit status is 5 if the cloud does not answer such questions or refuses, 7 if there
    /// is no connection, and 8 if there was no answer: the cloud may have acted on the question, or not.
    Request(Ask),
    /// Answer the questions of the cloud with a program
    ///
    /// Runs until Ctrl-C, even if the service restarts. One command at a time can answer.
    Requests(Answer),
    /// Close the connection, if there is one, and connect again immediately
    Reconnect,
    /// Print messages from the cloud, one line of JSON each
    ///
    /// Runs until Ctrl-C, even if the service restarts. Messages are printed in the order in which they
    /// were sent. Messages from before the start of the command are not available, except for those that the cloud
    /// keeps: they are taken with --ack, and wait until then.
    Listen(Listen),
    /// Show the connection status
    Status(Status),
    /// Show the messages that are kept
    ///
    /// A line for each lane with messages that wait for the cloud, in memory and on disk, and when the oldest was
    /// accepted. Lines for the disk, for what was lost since the start of the service, and for the messages from the
    /// cloud that wait for an application follow if there is something to say.
    Queue(Queue),
    /// Print connection events, one line each
    ///
    /// Runs until Ctrl-C, even if the service restarts.
    Events(Events),
}

#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// Keep the message until the cloud has stored it
    ///
    /// In memory: the end of the service, and of the power, loses it. On disk: success means that the cloud has it,
    /// or that it is written, within 5 seconds; if it cannot be written, the exit status is 8, and it waits in memory.
    #[arg(long, value_name = "WHERE")]
    pub(crate) keep: Option<Place>,
    /// The lane of the message: those of the urgent lane go first, and are not dropped to make room for others
    #[arg(long, value_name = "LANE", default_value = "normal", requires = "keep")]
    pub(crate) lane: LaneName,
    /// Drop the message after this time; a whole number with s, m, h, d or w
    #[arg(long, value_name = "TIME", default_value = "7d", requires = "keep")]
    pub(crate) expires: HumanDuration,
    /// Write the message to the disk at once, not together with those of the next seconds
    #[arg(long, requires = "keep")]
    pub(crate) sync: bool,
    /// Wait until the cloud has stored the message, or it is lost
    #[arg(long, requires = "keep")]
    pub(crate) wait_acked: bool,
}

/// Where a message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// In the memory of the service.
    Memory,
    /// In the data directory.
    Disk,
}

/// A lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LaneName {
    /// The lane of most messages.
    Normal,
    /// Goes first.
    Urgent,
}

impl LaneName {
    /// Its name on D-Bus.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Urgent => "urgent",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The question as JSON, or - to read it from standard input
    ///
    /// With the escapes that send describes.
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub(crate) message: String,
    /// Take the JSON as it is: {"$ref":1} is a map with the key $ref, and nothing is an escape
    #[arg(long)]
    pub(crate) literal: bool,
    /// How long to wait for the answer, at most 10m; a whole number with s or m
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) timeout: HumanDuration,
}

#[derive(Debug, Args)]
pub(crate) struct Answer {
    /// Run PROGRAM for each question
    ///
    /// The question is passed on standard input, as a line of JSON. The answer is the JSON that it prints to
    /// standard output before it exits with the status 0. Otherwise the cloud is refused with the last line of
    /// standard error. Questions are answered one at a time. The program is ended, with what it has started, when
    /// the cloud does not wait any longer.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) exec: OsString,
    /// Arguments of PROGRAM
    #[arg(last = true, value_name = "ARGUMENT")]
    pub(crate) exec_arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Log in with a claim: prompt for it without echoing it, or with - read it from standard input
    ///
    /// It is the text that begins with fdc_, or the whole text of its QR code.
    #[arg(long, value_name = "-", num_args = 0..=1, value_parser = dash)]
    #[arg(conflicts_with_all = ["username", "stdin", "claim_file"])]
    pub(crate) claim: Option<Option<Dash>>,
    /// Log in with the claim in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["username", "stdin"])]
    pub(crate) claim_file: Option<PathBuf>,
    /// The username, instead of a prompt
    #[arg(short, long, value_name = "NAME", conflicts_with = "stdin")]
    pub(crate) username: Option<String>,
    /// Prompt for an additional value (may be repeated)
    #[arg(long, value_name = "NAME", conflicts_with = "stdin")]
    pub(crate) field: Vec<String>,
    /// Prompt for an additional value without echoing it (may be repeated)
    #[arg(long, value_name = "NAME", conflicts_with = "stdin")]
    pub(crate) secret: Vec<String>,
    /// Read all credentials as a JSON object from standard input, instead of prompts
    ///
    /// For example {"username":"marvin","password":"..."}, or other keys if the cloud requires them.
    #[arg(long)]
    pub(crate) stdin: bool,
}

/// Standard input, as the value of an option.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dash;

fn dash(value: &str) -> Result<Dash, &'static str> {
    match value {
        "-" => Ok(Dash),
        _ => Err(
            "a claim is a secret, which other users could see here; use a prompt, - or --claim-file",
        ),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// Print raw messages instead of values, in base64: {"$bytes":"..."}
    #[arg(long, conflicts_with = "ack")]
    pub(crate) raw: bool,
    /// Take the messages that the cloud keeps for this device, and acknowledge them
    ///
    /// Prints an object for each, with its id, lane, redelivered, sent_at, raw and message, and acknowledges it once it
    /// is written to standard output. With --exec it is acknowledged when PROGRAM has exited with the status 0. A
    /// message that is not acknowledged comes again, with redelivered. One command at a time can take the messages of
    /// a lane.
    #[arg(long)]
    pub(crate) ack: bool,
    /// The lane whose messages are taken
    #[arg(long, value_name = "LANE", default_value = "normal", requires = "ack")]
    pub(crate) lane: LaneName,
    /// How often PROGRAM is run for a message, at most, before the message is rejected
    ///
    /// It is run again after 1 s, then 2 s and so on, up to a minute. The exit status 75 says that it may succeed
    /// later: it does not count.
    #[arg(long, value_name = "N", default_value = "5", requires = "ack", requires = "exec")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tries: u32,
    /// Exit after this many messages
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End PROGRAM, and what it has started, if it takes longer than this for a message
    #[arg(long, value_name = "TIME", default_value = "60s")]
    #[arg(requires = "exec")]
    pub(crate) exec_timeout: HumanDuration,
    /// Run PROGRAM for each message instead of printing it
    ///
    /// The message is passed on standard input: the line of JSON, or the bytes with --raw. Messages are
    /// processed one at a time. Failures are reported on standard error and do not end the command;
    /// after any failure, the exit status at the end of --count is 1.
    ///
    /// With --ack a raw message is passed as its bytes, and the environment has FEDECKS_MESSAGE_ID,
    /// FEDECKS_MESSAGE_LANE, FEDECKS_MESSAGE_REDELIVERED and FEDECKS_MESSAGE_RAW (true or false),
    /// FEDECKS_MESSAGE_SENT_AT and FEDECKS_MESSAGE_TRY, which begins with 1.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) exec: Option<OsString>,
    /// Arguments of PROGRAM
    #[arg(last = true, value_name = "ARGUMENT", requires = "exec")]
    pub(crate) exec_arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Print everything as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Wait until the connection is in this state
    ///
    /// If the service is not running yet, waits for it as well.
    #[arg(long, value_name = "STATE", value_parser = STATES)]
    pub(crate) wait: Option<String>,
    /// How long to wait; a whole number with ms, s, m, h, d or w
    #[arg(long, value_name = "TIME", default_value = "30s")]
    #[arg(requires = "wait")]
    pub(crate) timeout: HumanDuration,
}

#[derive(Debug, Args)]
pub(crate) struct Queue {
    /// Print everything as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Print each event as a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit after this many events
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}
