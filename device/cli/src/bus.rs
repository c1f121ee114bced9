//! Connects to the service over the system bus.

use std::fmt::Display;
use std::time::Duration;

use fedecks_dbus::Device1Proxy;
use tokio::time::timeout;
use zbus::proxy::CacheProperties;
use zbus::{Address, Connection, connection};

use crate::failure::Failure;

/// How long connecting to the bus may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How long a reply may take. The service answers a login after 20 s at the latest.
const CALL_DEADLINE: Duration = Duration::from_secs(25);

/// How many messages may wait for each part of the command, such as a program that runs for each message. Each
/// may take 2 MiB; the bus keeps the others.
const MAX_QUEUED: usize = 4;

/// A connection to the system bus whose calls time out.
pub(crate) async fn connect() -> Result<Connection, Failure> {
    connect_for(CALL_DEADLINE).await
}

async fn connect_for(deadline: Duration) -> Result<Connection, Failure> {
    let connecting = async {
        let builder = connection::Builder::system()?;
        builder.method_timeout(deadline).max_queued(MAX_QUEUED).build().await
    };
    match timeout(CONNECT_DEADLINE, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(zbus::Error::InputOutput(error))) => Err(no_bus(&error)),
        Ok(Err(error)) => Err(no_bus(&error)),
        Err(_) => Err(no_bus(&"it does not answer")),
    }
}

/// Names the address of the bus, if it is valid.
fn no_bus(problem: &dyn Display) -> Failure {
    Failure::NoBus(match Address::system() {
        Ok(address) => format!("{address}: {problem}"),
        Err(_) => problem.to_string(),
    })
}

/// A proxy for the service, which may not be running.
pub(crate) async fn proxy(connection: &Connection) -> Result<Device1Proxy<'static>, Failure> {
    // Properties are read only once, and a cache would need its own subscription.
    let builder = Device1Proxy::builder(connection).cache_properties(CacheProperties::No);
    Ok(builder.build().await?)
}

/// A proxy for the service, after checking that it is running and that this user may call it.
pub(crate) async fn device() -> Result<Device1Proxy<'static>, Failure> {
    device_for(CALL_DEADLINE).await
}

/// [`device`], with calls that may take so long.
pub(crate) async fn device_for(deadline: Duration) -> Result<Device1Proxy<'static>, Failure> {
    let proxy = proxy(&connect_for(deadline).await?).await?;
    proxy.state().await?;
    Ok(proxy)
}

/// The connection to the bus has ended.
pub(crate) fn gone() -> Failure {
    Failure::NoBus("it has closed the connection".to_owned())
}
