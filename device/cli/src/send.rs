//! `fedecks send`, `send-raw`, `reconnect` and `logout`: a single call each.

use std::path::Path;

use fedecks_dbus::Variant;

use crate::failure::Failure;
use crate::{bus, input, output};

pub(crate) async fn send(message: &str) -> Result<(), Failure> {
    let term = if message == "-" {
        input::json(&input::stdin().await?, "standard input")?
    } else {
        input::json(message.as_bytes(), "the argument")?
    };
    let value = Variant::new(term).map_err(|error| Failure::Usage(error.to_string()))?;
    bus::device().await?.send(&value).await?;
    output::remark("sent")
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
