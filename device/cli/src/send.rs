//! `fedecks send`, `send-raw`, `reconnect` and `logout`: a single call each.

use std::path::Path;
use std::time::Duration;

use fedecks_dbus::{Device1Error, Device1Proxy, Dictionary, Variant};
use fedecks_protocol::Term;
use tokio::time::sleep;

use crate::arguments::{Keep, Place};
use crate::failure::Failure;
use crate::{bus, input, output};

/// The value of an argument, or of standard input.
pub(crate) async fn message(message: &str, literal: bool) -> Result<Term, Failure> {
    let stdin;
    let (json, place) = if message == "-" {
        stdin = input::stdin().await?;
        (&stdin[..], "standard input")
    } else {
        (message.as_bytes(), "the argument")
    };
    if literal { input::literal_json(json, place) } else { escaped(json, place) }
}

pub(crate) async fn send(text: &str, literal: bool, keep: &Keep) -> Result<(), Failure> {
    let term = message(text, literal).await?;
    let value = Variant::new(term).map_err(|error| Failure::Usage(error.to_string()))?;
    let device = bus::device().await?;
    if keep.keep.is_some() {
        let id = device.send_kept(&value, &options(keep)?).await?;
        return kept(&device, &id, keep).await;
    }
    device.send(&value).await.map_err(unconfirmed)?;
    output::remark("sent, the cloud has it")
}

/// Prints the id of a message that is kept, and waits for its end if that is wanted.
async fn kept(device: &Device1Proxy<'_>, id: &str, keep: &Keep) -> Result<(), Failure> {
    // The reader of the id may have gone: the message is kept all the same.
    let printed = output::line(id);
    if keep.wait_acked {
        wait(device, id).await?;
        printed?;
        output::remark("the cloud has stored it")
    } else {
        printed?;
        let on_disk = keep.keep == Some(Place::Disk);
        output::remark(if on_disk {
            "it is on disk, or the cloud has it"
        } else {
            "it is in the queue"
        })
    }
}

/// How long the command waits before it asks again, while too many others wait.
const BUSY: Duration = Duration::from_secs(1);

/// Waits until the cloud has stored a message.
async fn wait(device: &Device1Proxy<'_>, id: &str) -> Result<(), Failure> {
    let ended = || {
        let text = "fedecksd has ended: the message is lost, or arrived, or is on disk";
        Failure::Unconfirmed(text.into())
    };
    loop {
        let outcome = match device.wait_settled(id).await {
            Ok(outcome) => outcome,
            Err(Device1Error::Busy(_)) => {
                sleep(BUSY).await;
                continue;
            }
            // It was restarted.
            Err(Device1Error::InvalidArgument(_) | Device1Error::GivenUp(_)) => return Err(ended()),
            Err(error) => {
                return Err(match error.into() {
                    Failure::NotRunning | Failure::Unreachable(_) | Failure::NoBus(_) => ended(),
                    failure => failure,
                });
            }
        };
        match &*outcome {
            "waiting" => {}
            "delivered" => return Ok(()),
            "rejected" => return Err(Failure::Rejected("the cloud has rejected it".into())),
            reason => return Err(Failure::Failed(format!("it was dropped: {reason}"))),
        }
    }
}

fn options(keep: &Keep) -> Result<Dictionary, Failure> {
    let seconds = keep.expires.0.as_secs();
    if seconds == 0 {
        return Err(Failure::Usage("--expires must be at least 1s".into()));
    }
    let options = vec![
        ("lane".into(), keep.lane.as_str().into()),
        ("expires".into(), seconds.into()),
        ("track".into(), keep.wait_acked.into()),
    ];
    let mut options = options;
    match (keep.keep, keep.sync) {
        (Some(Place::Disk), sync) => {
            options.push(("keep".into(), "disk".into()));
            options.push(("sync".into(), sync.into()));
        }
        (_, true) => return Err(Failure::Usage("--sync is for --keep disk".into())),
        (_, false) => {}
    }
    Dictionary::new(options).map_err(|error| Failure::Usage(error.to_string()))
}

/// A call that was not answered may have been executed.
pub(crate) fn unconfirmed(error: Device1Error) -> Failure {
    match error.into() {
        Failure::Unreachable(message) | Failure::NoBus(message) => Failure::Unconfirmed(message),
        failure => failure,
    }
}

/// A value with escapes. If it can only be read literally, the error says how to ask for that.
fn escaped(json: &[u8], place: &str) -> Result<Term, Failure> {
    input::json(json, place).map_err(|failure| {
        if input::literal_json(json, place).is_ok() {
            let advice = "--literal takes JSON as it is, without escapes";
            Failure::Usage(format!("{failure}; {advice}"))
        } else {
            failure
        }
    })
}

pub(crate) async fn send_raw(file: &Path, keep: &Keep) -> Result<(), Failure> {
    let bytes = input::file(file).await?;
    let device = bus::device().await?;
    if keep.keep.is_some() {
        let id = device.send_raw_kept(&bytes, &options(keep)?).await?;
        return kept(&device, &id, keep).await;
    }
    device.send_raw(&bytes).await.map_err(unconfirmed)?;
    output::remark(format_args!("sent {} bytes, the cloud has them", bytes.len()))
}

pub(crate) async fn logout() -> Result<(), Failure> {
    bus::device().await?.logout().await?;
    output::line("logged out, the token is deleted")
}

pub(crate) async fn reconnect() -> Result<(), Failure> {
    bus::device().await?.reconnect().await?;
    output::line("reconnecting")
}
