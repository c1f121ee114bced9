//! `fedecks request`: asks the cloud; `fedecks requests`: answers what the cloud asks.

use std::time::Duration;

use fedecks_dbus::{Device1Proxy, RequestCancelledStream, Variant};
use fedecks_protocol::Term;
use futures_util::StreamExt;

use crate::arguments::{Answer, Ask};
use crate::exec::Runner;
use crate::failure::Failure;
use crate::poll::Poll;
use crate::{bus, exec, input, output, send};

/// How long a request may take beyond its timeout.
const SLACK: Duration = Duration::from_secs(10);

/// The longest that a request may wait, in seconds.
const MAX_S: u64 = 600;

pub(crate) async fn request(arguments: Ask) -> Result<(), Failure> {
    let seconds = arguments.timeout.0.as_secs();
    if !(1..=MAX_S).contains(&seconds) {
        return Err(Failure::Usage("--timeout must be from 1s to 10m".into()));
    }
    let term = send::message(&arguments.message, arguments.literal).await?;
    let question = Variant::new(term).map_err(|error| Failure::Usage(error.to_string()))?;
    // At most 600, as was just checked.
    let timeout = u32::try_from(seconds).unwrap_or(u32::MAX);
    let device = bus::device_for(Duration::from_secs(seconds) + SLACK).await?;
    let reply = device.request(&question, timeout).await.map_err(send::unconfirmed)?;
    output::line(output::json(reply.term())?)
}

pub(crate) async fn requests(arguments: Answer, programs: &Runner) -> Result<(), Failure> {
    exec::find(&arguments.exec).map_err(Failure::Usage)?;
    let device = bus::device().await?;
    let mut cancelled = device.receive_request_cancelled().await?;
    let mut poll = Poll::new("listening for requests");
    loop {
        let next = poll.next(async |wait_s| device.next_request(wait_s).await).await?;
        let (id, message, details) = next;
        if id == 0 {
            continue;
        }
        let limit = details.get("timeout_ms").and_then(|term| match term {
            Term::Int(millis) => u64::try_from(*millis).ok(),
            _ => None,
        });
        let limit = Duration::from_millis(limit.unwrap_or_default());
        let question = (id, message, limit);
        answer(&device, &arguments, programs, question, &mut cancelled).await?;
    }
}

/// Has the program answer a request.
async fn answer(
    device: &Device1Proxy<'_>,
    arguments: &Answer,
    programs: &Runner,
    (id, message, limit): (u64, Variant, Duration),
    signals: &mut RequestCancelledStream,
) -> Result<(), Failure> {
    let cancelled = async {
        while let Some(signal) = signals.next().await {
            if signal.args().is_ok_and(|args| args.id == id) {
                return;
            }
        }
        std::future::pending().await
    };
    let question = (output::json(message.term())? + "\n").into_bytes();
    let (program, rest) = (&arguments.exec, &arguments.exec_arguments);
    let answered = programs.ask(program, rest, &question, limit, cancelled).await;
    let answer = answered.and_then(|json| {
        let term = input::json(&json, "the answer").map_err(|error| error.to_string())?;
        Variant::new(term).map_err(|error| format!("the answer: {error}"))
    });
    let sent = match answer {
        Ok(answer) => device.reply_to_request(id, &answer).await,
        Err(text) => {
            output::note(&text);
            device.refuse_request(id, &text).await
        }
    };
    // The next call finds out if the service has ended. An answer that is too late does not end the command.
    if let Err(error) = sent {
        output::note(Failure::from(error));
    }
    Ok(())
}
