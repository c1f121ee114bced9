//! `fedecks listen`: messages from the cloud.

use fedecks_protocol::Term;
use futures_util::StreamExt;
use futures_util::stream::select;

use crate::arguments::Listen;
use crate::failure::Failure;
use crate::follow::{Countdown, follow};
use crate::{bus, exec, output};

pub(crate) async fn listen(what: Listen) -> Result<(), Failure> {
    let device = bus::device().await?;
    let owners = device.inner().receive_owner_changed().await?;
    let events = device.receive_event().await?;
    let events = events.map(|event| zbus::Result::Ok(Heard::Event(event.args()?.name)));
    let mut consumer = Consumer::new(&what);
    if what.raw {
        let messages = device.receive_raw_message_received().await?;
        let messages = messages.map(|m| Ok(Heard::Message(Term::Bytes(m.args()?.bytes))));
        output::note("listening for raw messages");
        follow(select(messages, events), owners, async |heard| consumer.take(heard?).await).await?;
    } else {
        let messages = device.receive_message_received().await?;
        let messages = messages.map(|m| Ok(Heard::Message(m.args()?.message.into_term())));
        output::note("listening");
        follow(select(messages, events), owners, async |heard| consumer.take(heard?).await).await?;
    }
    consumer.end()
}

/// What the service says.
enum Heard {
    Message(Term),
    /// The name of an event.
    Event(String),
}

/// Prints messages, or runs a program for each.
struct Consumer<'a> {
    what: &'a Listen,
    countdown: Countdown,
    failures: u64,
}

impl<'a> Consumer<'a> {
    fn new(what: &'a Listen) -> Self {
        Self { what, countdown: Countdown::new(what.count), failures: 0 }
    }

    async fn take(&mut self, heard: Heard) -> Result<bool, Failure> {
        let message = match heard {
            Heard::Message(message) => message,
            Heard::Event(name) => {
                match name.as_str() {
                    "missed" => output::note("messages may be missing: too many came at once"),
                    "message_undeliverable" => {
                        output::note("a message is missing: it has no form on D-Bus");
                    }
                    _ => {}
                }
                return Ok(true);
            }
        };
        match self.what.exec.split_first() {
            None => output::line(output::json(&message)?)?,
            Some((program, arguments)) => {
                let input = if let (true, Term::Bytes(bytes)) = (self.what.raw, &message) {
                    bytes.clone()
                } else {
                    (output::json(&message)? + "\n").into_bytes()
                };
                let limit = self.what.exec_timeout.0;
                if let Err(problem) = exec::run(program, arguments, &input, limit).await {
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
