//! `fedecks status`.

use std::time::Duration;

use fedecks_dbus::Device1Proxy;
use futures_util::StreamExt;
use tokio::time::timeout;
use zbus::fdo::PropertiesProxy;

use crate::arguments::{State, Status};
use crate::failure::Failure;
use crate::output::Paint;
use crate::{bus, output, summary};

pub(crate) async fn status(what: Status) -> Result<(), Failure> {
    let device = bus::proxy(&bus::connect().await?).await?;
    if let Some(wanted) = what.wait {
        wait(&device, wanted, what.timeout.0).await?;
    }
    let health = device.get_health().await?.into_term();
    if what.json {
        output::line(output::json(&health)?)
    } else {
        output::line(summary::of(&health, Paint::of_stdout())?)
    }
}

/// Waits until the service is in this state.
async fn wait(device: &Device1Proxy<'_>, wanted: State, limit: Duration) -> Result<(), Failure> {
    let mut last = None;
    match timeout(limit, reach(device, wanted, &mut last)).await {
        Ok(result) => result,
        Err(_) => match last {
            None => Err(Failure::NotRunning),
            Some(state) => Err(Failure::Unreachable(format!(
                "not {} after {} s, but {state}; see: fedecks status",
                wanted.word(),
                limit.as_secs_f64()
            ))),
        },
    }
}

/// `last` is the state that was seen last; none if the service was not running then.
async fn reach(
    device: &Device1Proxy<'_>,
    wanted: State,
    last: &mut Option<String>,
) -> Result<(), Failure> {
    let inner = device.inner();
    let properties = PropertiesProxy::builder(inner.connection())
        .destination(inner.destination().to_owned())
        .map_err(Failure::from)?
        .path(inner.path().to_owned())
        .map_err(Failure::from)?
        .build()
        .await?;
    // Before the first look, so that no change is missed in between.
    let mut changes = properties.receive_properties_changed().await?;
    let mut owners = inner.receive_owner_changed().await?;
    loop {
        match device.state().await.map_err(Failure::from) {
            Ok(state) if state == wanted.word() => return Ok(()),
            Ok(state) => *last = Some(state),
            Err(Failure::NotRunning) => *last = None,
            Err(failure) => return Err(failure),
        }
        let is_bus_there = tokio::select! {
            change = changes.next() => change.is_some(),
            owner = owners.next() => owner.is_some(),
        };
        if !is_bus_there {
            return Err(Failure::NoBus("it went away".to_owned()));
        }
    }
}
