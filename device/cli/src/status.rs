//! `fedecks status`: shows the health, after waiting for a state if asked.

use std::time::Duration;

use fedecks_dbus::Device1Proxy;
use futures_util::StreamExt;
use tokio::time::timeout;
use zbus::fdo::PropertiesProxy;

use crate::arguments::Status;
use crate::failure::Failure;
use crate::output::Colors;
use crate::{bus, output, summary};

pub(crate) async fn status(arguments: Status) -> Result<(), Failure> {
    let device = bus::proxy(&bus::connect().await?).await?;
    if let Some(wanted) = &arguments.wait {
        wait(&device, wanted, arguments.timeout.0).await?;
    }
    let health = device.get_health().await?.into_term();
    if arguments.json {
        output::line(output::json(&health)?)
    } else {
        output::line(summary::of(&health, Colors::of_stdout())?)
    }
}

/// Waits until the connection is in this state.
async fn wait(device: &Device1Proxy<'_>, wanted: &str, limit: Duration) -> Result<(), Failure> {
    if let Ok(result) = timeout(limit, reach(device, wanted)).await {
        return result;
    }
    let state = device.state().await?;
    if state == wanted {
        return Ok(());
    }
    Err(Failure::Unreachable(format!(
        "not {wanted} after {} s, but {state}; see: fedecks status",
        limit.as_secs_f64()
    )))
}

async fn reach(device: &Device1Proxy<'_>, wanted: &str) -> Result<(), Failure> {
    let inner = device.inner();
    let properties = PropertiesProxy::builder(inner.connection())
        .destination(inner.destination().to_owned())
        .map_err(Failure::from)?
        .path(inner.path().to_owned())
        .map_err(Failure::from)?
        .build()
        .await?;
    // Subscribe before the first query, so that no change is missed in between.
    let mut changes = properties.receive_properties_changed().await?;
    let mut owners = inner.receive_owner_changed().await?;
    loop {
        match device.state().await.map_err(Failure::from) {
            Ok(state) if state == wanted => return Ok(()),
            Ok(_) | Err(Failure::NotRunning) => {}
            Err(failure) => return Err(failure),
        }
        let is_connected = tokio::select! {
            change = changes.next() => change.is_some(),
            owner = owners.next() => owner.is_some(),
        };
        if !is_connected {
            return Err(bus::gone());
        }
    }
}
