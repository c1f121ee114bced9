use fedecks_protocol::Term;

use crate::arguments::Listen;
use crate::failure::Failure;
use crate::follow::{Countdown, follow};
use crate::{bus, exec, output};

pub(crate) async fn listen(what: Listen) -> Result<(), Failure> {
    let device = bus::device().await?;
    let owners = device.inner().receive_owner_changed().await?;
    let mut consumer = Consumer::new(&what);
    if what.raw {
        let signals = device.receive_raw_message_received().await?;
        output::note("listening for raw messages");
        follow(signals, owners, async |signal| {
            consumer.take(Term::Bytes(signal.args()?.bytes)).await
        })
        .await?;
    } else {
        let signals = device.receive_message_received().await?;
        output::note("listening");
        follow(signals, owners, async |signal| {
            consumer.take(signal.args()?.message.into_term()).await
        })
        .await?;
    }
    consumer.end()
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

    async fn take(&mut self, message: Term) -> Result<bool, Failure> {
        match self.what.exec.split_first() {
            None => output::line(output::json(&message)?)?,
            Some((program, arguments)) => {
                let input = match message {
                    Term::Bytes(bytes) if self.what.raw => bytes,
                    message => (output::json(&message)? + "\n").into_bytes(),
                };
                let limit = self.what.exec_timeout;
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
