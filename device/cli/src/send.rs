//! `fedecks send`, `send-raw`, `reconnect` and `logout`: a single call each.

use std::path::Path;

use fedecks_dbus::Variant;

use crate::failure::Failure;
use crate::{bus, input};

pub(crate) async fn send(message: &str) -> Result<(), Failure> {
    let term = if message == "-" {
        input::json(&input::stdin().await?, "standard input")?
    } else {
        input::json(message.as_bytes(), "the argument")?
    };
    let value = Variant::new(term).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(bus::device().await?.send(&value).await?)
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
