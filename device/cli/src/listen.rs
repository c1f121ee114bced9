//! `fedecks listen`: prints messages from the cloud, or runs a program for each.

use fedecks_protocol::Term;
use futures_util::StreamExt;
use futures_util::stream::select;

use crate::arguments::Listen;
use crate::exec::Runner;
use crate::failure::Failure;
use crate::follow::{Countdown, follow};
use crate::{bus, exec, output};

pub(crate) async fn listen(arguments: Listen, programs: &Runner) -> Result<(), Failure> {
    if let Some(program) = &arguments.exec {
        exec::find(program).map_err(Failure::Usage)?;
    }
    let device = bus::device().await?;
    let owners = device.inner().receive_owner_changed().await?;
    let events = device.receive_event().await?;
    let events = events.map(|event| zbus::Result::Ok(Signal::Event(event.args()?.name)));
    let messages = if arguments.raw {
        let messages = device.receive_raw_message_received().await?;
        output::note("listening for raw messages");
        messages.map(|m| Ok(Signal::Message(Term::Bytes(m.args()?.bytes)))).boxed_local()
    } else {
        let messages = device.receive_message_received().await?;
        output::note("listening");
        messages.map(|m| Ok(Signal::Message(m.args()?.message.into_term()))).boxed_local()
    };
    let mut consumer = Consumer::new(&arguments, programs);
    follow(select(messages, events), owners, async |signal| consumer.handle(signal?).await).await?;
    consumer.end()
}

/// A signal from the service.
enum Signal {
    Message(Term),
    /// The name of an event.
    Event(String),
}

/// Prints messages, or runs a program for each.
struct Consumer<'a> {
    arguments: &'a Listen,
    programs: &'a Runner,
    countdown: Countdown,
    failures: u64,
}

impl<'a> Consumer<'a> {
    fn new(arguments: &'a Listen, programs: &'a Runner) -> Self {
        Self { arguments, programs, countdown: Countdown::new(arguments.count), failures: 0 }
    }

    /// Returns true if more signals are wanted.
    async fn handle(&mut self, signal: Signal) -> Result<bool, Failure> {
        let message = match signal {
            Signal::Message(message) => message,
            Signal::Event(name) => {
                match name.as_str() {
                    "missed" => output::note("messages may be missing: too many arrived at once"),
                    "message_undeliverable" => {
                        output::note("a message is missing: it cannot be sent over D-Bus");
                    }
                    _ => {}
                }
                return Ok(true);
            }
        };
        match &self.arguments.exec {
            None => output::line(output::json(&message)?)?,
            Some(program) => {
                let input = if let (true, Term::Bytes(bytes)) = (self.arguments.raw, &message) {
                    bytes.clone()
                } else {
                    (output::json(&message)? + "\n").into_bytes()
                };
                let limit = self.arguments.exec_timeout.0;
                let arguments = &self.arguments.exec_arguments;
                let run = self.programs.run(program, arguments, &[], &input, limit);
                if let Err(problem) = run.await {
                    self.failures += 1;
                    output::note(problem);
                }
            }
        }
        Ok(self.countdown.wants_more())
    }

    fn end(self) -> Result<(), Failure> {
        match self.failures {
            0 => Ok(()),
            1 => Err(Failure::Failed("the program failed for 1 message".to_owned())),
            n => Err(Failure::Failed(format!("the program failed for {n} messages"))),
        }
    }
}
