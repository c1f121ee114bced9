//! The command line.

// These comments are the help text: what looks like a link is JSON.
#![allow(rustdoc::broken_intra_doc_links)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fedecks_common::HumanDuration;

/// What stands under every help text and in the man page.
pub(crate) const EXIT_STATUS: &str = "\
Exit status:
  0    done; also when the reader of the output closed it
  1    failed otherwise
  2    wrong arguments or input
  3    fedecksd, or the system bus, is not running
  4    no permission
  5    the cloud said no
  6    no answer in time
  7    not connected, or not logged in
  130  ended by Ctrl-C (in general 128 and the number of the signal)";

/// Speaks to fedecksd, the service that keeps this device connected to its cloud.
///
/// It does so over the system bus, at the address in DBUS_SYSTEM_BUS_ADDRESS if that is set; root and
/// the members of the group fedecks may. Data goes to standard output, everything else to standard
/// error.
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
    /// Asks for the user name and the password, which is not shown, unless told otherwise. A token
    /// that the cloud gives in return brings the device back from then on, also after a reboot.
    /// Waits 20 seconds for the cloud; the login itself goes on after that, until the cloud answers.
    Login(Login),
    /// End the connection and forget the token
    Logout,
    /// Send a value to the cloud
    ///
    /// It was sent when this ends without an error, which says nothing yet about its arrival. While
    /// there is no connection nothing is kept for later: exit status 7 tells.
    Send {
        /// The value in JSON, or - to read it from standard input
        ///
        /// What JSON has no form for is written as an object with one key: {"$bytes":"aGk="},
        /// {"$int":"340282366920938463463"}, {"$float":"NaN"}, {"$tuple":[1,2]}, {"$atom":"ok"},
        /// {"$map":[[1,"one"]]}.
        #[arg(value_name = "JSON", allow_negative_numbers = true)]
        message: String,
    },
    /// Send bytes to the cloud as they are
    SendRaw {
        /// The file that holds them, or - for standard input
        file: PathBuf,
    },
    /// End the connection, if there is one, and dial at once
    Reconnect,
    /// Print what the cloud sends, a line of JSON for each message
    ///
    /// Goes on until Ctrl-C, also while the service starts anew. Messages come in the order in which
    /// they were sent. Those from before the command was started are not there any more.
    Listen(Listen),
    /// Tell how the connection is doing
    Status(Status),
    /// Print what happens to the connection, a line for each event
    ///
    /// Goes on until Ctrl-C, also while the service starts anew.
    Events(Events),
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The user name; it is asked for otherwise
    #[arg(short, long, value_name = "NAME", conflicts_with = "stdin")]
    pub(crate) username: Option<String>,
    /// Ask for a further value, which is shown as it is typed (may be repeated)
    #[arg(long, value_name = "NAME", conflicts_with = "stdin")]
    pub(crate) field: Vec<String>,
    /// Ask for a further value, which is not shown (may be repeated)
    #[arg(long, value_name = "NAME", conflicts_with = "stdin")]
    pub(crate) secret: Vec<String>,
    /// Ask nothing, read all credentials as a JSON object from standard input
    ///
    /// For example {"username":"marvin","password":"..."}, or whatever the cloud asks for.
    #[arg(long)]
    pub(crate) stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// Raw messages, not values: {"$bytes":"..."} with their base64
    #[arg(long)]
    pub(crate) raw: bool,
    /// End after this many messages
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// How long PROGRAM may take for a message before it is killed
    #[arg(long, value_name = "TIME", default_value = "60s")]
    #[arg(requires = "exec")]
    pub(crate) exec_timeout: HumanDuration,
    /// Run this for each message instead of printing it; takes all arguments that follow
    ///
    /// It gets the message on its standard input: the line of JSON, or the bytes with --raw. One runs
    /// at a time, further messages wait. One that fails is told on standard error and does not end
    /// the listening; if any failed, the exit status at the end of --count is 1.
    #[arg(long, value_name = "PROGRAM", num_args = 1.., allow_hyphen_values = true)]
    pub(crate) exec: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Everything as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Wait for this state, then tell
    ///
    /// Waits for the service as well if it is not running yet.
    #[arg(long, value_name = "STATE")]
    pub(crate) wait: Option<State>,
    /// How long to wait for it; a whole number with ms, s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "30s")]
    #[arg(requires = "wait")]
    pub(crate) timeout: HumanDuration,
}

/// What `--wait` waits for, by the words of the property `State`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Unregistered,
    Offline,
    Waiting,
    Dialing,
    Connected,
    Closed,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// A JSON object for each event
    #[arg(long)]
    pub(crate) json: bool,
    /// End after this many events
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

impl State {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Unregistered => "unregistered",
            Self::Offline => "offline",
            Self::Waiting => "waiting",
            Self::Dialing => "dialing",
            Self::Connected => "connected",
            Self::Closed => "closed",
        }
    }
}
