//! The way to the service over the system bus.

use std::fmt::Display;
use std::time::Duration;

use fedecks_dbus::Device1Proxy;
use tokio::time::timeout;
use zbus::proxy::CacheProperties;
use zbus::{Address, Connection, connection};

use crate::failure::Failure;

/// How long the bus may take to let this program in.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How long any answer may take. The service itself gives up a login after 20 s.
const CALL_DEADLINE: Duration = Duration::from_secs(25);

/// The system bus; every call over it ends in time.
pub(crate) async fn connect() -> Result<Connection, Failure> {
    let connecting =
        async { connection::Builder::system()?.method_timeout(CALL_DEADLINE).build().await };
    match timeout(CONNECT_DEADLINE, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(zbus::Error::InputOutput(error))) => Err(no_bus(&error)),
        Ok(Err(error)) => Err(no_bus(&error)),
        Err(_) => Err(no_bus(&"it does not answer")),
    }
}

/// Says where the bus was looked for, if that can be said.
fn no_bus(problem: &dyn Display) -> Failure {
    Failure::NoBus(match Address::system() {
        Ok(address) => format!("{address}: {problem}"),
        Err(_) => problem.to_string(),
    })
}

/// The service, whether it is running or not.
pub(crate) async fn proxy(connection: &Connection) -> Result<Device1Proxy<'static>, Failure> {
    // What is asked once needs no cache, and a cache would need its own subscription.
    let builder = Device1Proxy::builder(connection).cache_properties(CacheProperties::No);
    Ok(builder.build().await?)
}

/// The service, which is running and may be called by this user.
pub(crate) async fn device() -> Result<Device1Proxy<'static>, Failure> {
    let proxy = proxy(&connect().await?).await?;
    proxy.state().await?;
    Ok(proxy)
}
