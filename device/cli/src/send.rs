//! `fedecks send`, `send-raw`, `reconnect` and `logout`: a single call each.

use std::path::Path;

use fedecks_dbus::Variant;
use fedecks_protocol::Term;

use crate::failure::Failure;
use crate::{bus, input};

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
    Ok(bus::device().await?.send(&value).await?)
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
    Ok(bus::device().await?.send_raw(&bytes).await?)
}

pub(crate) async fn logout() -> Result<(), Failure> {
    Ok(bus::device().await?.logout().await?)
}

pub(crate) async fn reconnect() -> Result<(), Failure> {
    Ok(bus::device().await?.reconnect().await?)
}
