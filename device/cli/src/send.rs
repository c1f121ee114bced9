//! `fedecks send`, `send-raw`, `reconnect` and `logout`: a single call each.

use std::path::Path;

use fedecks_dbus::Variant;
use fedecks_protocol::Term;

use crate::failure::Failure;
use crate::{bus, input, output};

pub(crate) async fn send(message: &str, literal: bool) -> Result<(), Failure> {
    let stdin;
    let (json, place) = if message == "-" {
        stdin = input::stdin().await?;
        (&stdin[..], "standard input")
    } else {
        (message.as_bytes(), "the argument")
    };
    let term = if literal { input::literal_json(json, place)? } else { escaped(json, place)? };
    let value = Variant::new(term).map_err(|error| Failure::Usage(error.to_string()))?;
    bus::device().await?.send(&value).await?;
    output::remark("sent")
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

pub(crate) async fn send_raw(file: &Path) -> Result<(), Failure> {
    let bytes = input::file(file).await?;
    bus::device().await?.send_raw(&bytes).await?;
    output::remark(format_args!("sent {} bytes", bytes.len()))
}

pub(crate) async fn logout() -> Result<(), Failure> {
    bus::device().await?.logout().await?;
    output::line("logged out, the token is deleted")
}

pub(crate) async fn reconnect() -> Result<(), Failure> {
    bus::device().await?.reconnect().await?;
    output::line("reconnecting")
}
