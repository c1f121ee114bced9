//! `fedecks listen --ack`: takes the messages that the cloud keeps for this device, and acknowledges them.

use std::time::{Duration, SystemTime};

use fedecks_common::{Backoff, utc_millis};
use fedecks_dbus::{Device1Proxy, Dictionary};
use fedecks_protocol::Term;
use tokio::time::sleep;

use crate::arguments::Listen;
use crate::exec::Runner;
use crate::failure::Failure;
use crate::follow::Countdown;
use crate::poll::Poll;
use crate::{bus, exec, output};

pub(crate) async fn deliver(arguments: Listen, programs: &Runner) -> Result<(), Failure> {
    if let Some(program) = &arguments.exec {
        exec::find(program).map_err(Failure::Usage)?;
    }
    let device = bus::device().await?;
    let lane = arguments.lane.as_str();
    let mut poll = Poll::new("listening for kept messages");
    let mut countdown = Countdown::new(arguments.count);
    let mut rejected = 0_u64;
    let mut closed = std::pin::pin!(output::closed());
    loop {
        let next = tokio::select! {
            next = poll.next(async |wait_s| device.next_message(lane, wait_s).await) => next?,
            // Nothing was taken, or it is not acknowledged and comes again.
            failure = &mut closed => return Err(failure),
        };
        let (id, message, details) = next;
        if id.is_empty() {
            continue;
        }
        let message = Message::new(id, message.into_term(), &details);
        let outcome = match &arguments.exec {
            None => output::line(message.to_json(lane)?).map(|()| Ok(()))?,
            Some(_) => message.run(&arguments, programs).await?,
        };
        rejected += u64::from(outcome.is_err());
        settle(&device, &message.id, outcome).await;
        if !countdown.wants_more() {
            break;
        }
    }
    match rejected {
        0 => Ok(()),
        1 => Err(Failure::Failed("1 message was rejected".to_owned())),
        n => Err(Failure::Failed(format!("{n} messages were rejected"))),
    }
}

/// Acknowledges a message, or rejects it for a reason. After an error it comes again; the next call finds out whether the
/// service has ended.
async fn settle(device: &Device1Proxy<'_>, id: &str, outcome: Result<(), String>) {
    let settled = match outcome {
        Ok(()) => device.acknowledge(id).await,
        Err(reason) => {
            output::note(format_args!("rejected message {id}: {reason}"));
            device.reject(id, &reason).await
        }
    };
    if let Err(error) = settled {
        output::note(Failure::from(error));
    }
}

/// A kept message.
struct Message {
    id: String,
    term: Term,
    is_raw: bool,
    redelivered: bool,
    /// As RFC 3339; empty if it is not known.
    sent_at: String,
    /// How often it was given to a program before.
    given_before: u32,
}

impl Message {
    fn new(id: String, term: Term, details: &Dictionary) -> Self {
        let is = |key| details.get(key) == Some(&Term::Bool(true));
        let number = |key| details.get(key).and_then(Term::as_int);
        let tries = number("tries").and_then(|tries| u32::try_from(tries).ok()).unwrap_or(1);
        let sent_at = number("sent_at_ms").and_then(|millis| u64::try_from(millis).ok());
        let sent_at = sent_at
            .and_then(|millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)));
        Self {
            id,
            term,
            is_raw: is("raw"),
            redelivered: is("redelivered"),
            sent_at: sent_at.map(|at| utc_millis(at).to_string()).unwrap_or_default(),
            given_before: tries.saturating_sub(1),
        }
    }

    fn to_json(&self, lane: &str) -> Result<String, Failure> {
        let sent_at = match self.sent_at.as_str() {
            "" => Term::Nil,
            sent_at => Term::from(sent_at),
        };
        output::json(&Term::Map(vec![
            ("id".into(), Term::from(self.id.as_str())),
            ("lane".into(), Term::from(lane)),
            ("redelivered".into(), self.redelivered.into()),
            ("sent_at".into(), sent_at),
            ("raw".into(), self.is_raw.into()),
            ("message".into(), self.term.clone()),
        ]))
    }

    /// Runs the program until it succeeds. Otherwise returns why the message is rejected.
    async fn run(
        &self,
        arguments: &Listen,
        programs: &Runner,
    ) -> Result<Result<(), String>, Failure> {
        let Some(program) = &arguments.exec else { return Ok(Ok(())) };
        // What ended a command counts as well, so that no message ends it again and again.
        if self.given_before >= arguments.tries {
            let times = self.given_before;
            return Ok(Err(format!("it was taken {times} times, and not acknowledged")));
        }
        let input = match &self.term {
            Term::Bytes(bytes) if self.is_raw => bytes.clone(),
            term => (output::json(term)? + "\n").into_bytes(),
        };
        let mut tried = self.given_before;
        let mut backoff = Backoff::default();
        loop {
            let variables = [
                ("FEDECKS_MESSAGE_ID", self.id.clone()),
                ("FEDECKS_MESSAGE_LANE", arguments.lane.as_str().to_owned()),
                ("FEDECKS_MESSAGE_REDELIVERED", self.redelivered.to_string()),
                ("FEDECKS_MESSAGE_RAW", self.is_raw.to_string()),
                ("FEDECKS_MESSAGE_SENT_AT", self.sent_at.clone()),
                ("FEDECKS_MESSAGE_TRY", tried.saturating_add(1).to_string()),
            ];
            let (rest, limit) = (&arguments.exec_arguments, arguments.exec_timeout.0);
            let Err(error) = programs.run(program, rest, &variables, &input, limit).await else {
                return Ok(Ok(()));
            };
            tried = tried.saturating_add(u32::from(!error.is_temporary));
            if tried >= arguments.tries {
                return Ok(Err(error.to_string()));
            }
            output::note(error);
            sleep(backoff.next_delay()).await;
        }
    }
}
