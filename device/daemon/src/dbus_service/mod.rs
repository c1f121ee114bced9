//! The service `org.fedecks.Device1` on the system bus.

mod deliveries;
mod departure;
mod error;
mod events;
mod interface;
mod kept;
mod properties;
mod requests;

use fedecks_common::Backoff;
use fedecks_dbus::{NAME, PATH};
use fedecks_device::error::Stopped;
use fedecks_device::{Client, Event, Events};
use tokio::select;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Message};

use crate::health::DeviceHealth;
use events::Signal;
use interface::Device1;
pub(crate) use interface::MemoryLimits;
use properties::PropertyValues;

/// Serves the client on each connection that `bus` provides, until the client or the sender of `bus` ends.
pub(crate) async fn serve(
    client: Client,
    health: DeviceHealth,
    limits: MemoryLimits,
    mut bus: watch::Receiver<Option<Connection>>,
) {
    let mut backoff = Backoff::default();
    loop {
        let connection = match bus.wait_for(Option::is_some).await {
            Ok(connection) => connection.clone(),
            Err(_) => return,
        };
        let Some(connection) = connection else { continue };
        select! {
            ended = serve_on(&client, &health, limits, &connection) => match ended {
                Ok(Stopped) => return,
                Err(error) => {
                    debug!(%error, "restarting the D-Bus service");
                    // If the connection has failed, `bus` is about to report it.
                    let _ = timeout(backoff.next_delay(), bus.changed()).await;
                }
            },
            _ = bus.changed() => backoff = Backoff::default(),
        }
    }
}

/// Serves the client on one connection, until the client ends or the connection fails.
async fn serve_on(
    client: &Client,
    health: &DeviceHealth,
    limits: MemoryLimits,
    connection: &Connection,
) -> zbus::Result<Stopped> {
    let object = Device1::new(client.clone(), health.clone(), limits);
    connection.object_server().at(PATH, object).await?;
    // Signals only after the name is owned: the bus's policy goes by the name.
    let mut events = request_name(connection, client).await?;
    let mut status = client.watch_status();
    let emitter = SignalEmitter::new(connection, PATH)?;
    let mut properties = PropertyValues::current(client);
    properties.signal(None, &emitter).await?;
    loop {
        // Properties first, so that they have changed when a caller receives the event.
        select! {
            biased;
            changed = status.changed() => {
                if changed.is_err() {
                    return Ok(Stopped);
                }
                status.mark_unchanged();
                let now = PropertyValues::current(client);
                now.signal(Some(&properties), &emitter).await?;
                properties = now;
            }
            signal = next(&mut events, limits.max_signal()) => match signal {
                Some(signal) => connection.send(&message(signal, &emitter)?).await?,
                None => return Ok(Stopped),
            },
        }
    }
}

async fn next(events: &mut Events, max: usize) -> Option<Signal> {
    let event = events.next().await?;
    if let Event::Missed { count } = event {
        warn!(count, "dropped events, as the D-Bus daemon does not read fast enough");
    }
    Some(Signal::new(event, max))
}

/// The signal as a message. What it is made of is freed before the message is sent, which may take long.
fn message(signal: Signal, emitter: &SignalEmitter<'_>) -> zbus::Result<Message> {
    let begin = |name: &'static str| {
        let signal = Message::signal(PATH, NAME, name)?;
        match emitter.connection().unique_name() {
            Some(sender) => signal.sender(sender),
            None => Ok(signal),
        }
    };
    match signal {
        Signal::Message(message) => begin("MessageReceived")?.build(&(message,)),
        Signal::Raw(bytes) => begin("RawMessageReceived")?.build(&(bytes,)),
        Signal::Event { name, details } => begin("Event")?.build(&(name, details)),
    }
}

/// Requests the bus name until this connection owns it. Returns the events from then on: who sees that the name is owned
/// misses none.
async fn request_name(connection: &Connection, client: &Client) -> zbus::Result<Events> {
    const DO_NOT_QUEUE: u32 = 4;
    let bus = Some("org.freedesktop.DBus");
    let mut backoff = Backoff::default();
    let mut is_logged = false;
    loop {
        let events = client.subscribe();
        let reply = connection
            .call_method(bus, "/org/freedesktop/DBus", bus, "RequestName", &(NAME, DO_NOT_QUEUE))
            .await;
        let problem = match reply {
            // DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER and _ALREADY_OWNER.
            Ok(reply) if [1, 4].contains(&reply.body().deserialize::<u32>()?) => {
                info!(name = NAME, "the D-Bus service is ready");
                return Ok(events);
            }
            Ok(_) => "another program owns it".to_owned(),
            Err(zbus::Error::MethodError(name, text, _)) => match text {
                Some(text) => format!("{name}: {text}"),
                None => name.to_string(),
            },
            Err(error) => return Err(error),
        };
        // The link does not wait for events that no one reads.
        drop(events);
        if is_logged {
            debug!(name = NAME, problem, "still cannot acquire the D-Bus name");
        } else {
            warn!(name = NAME, problem, "cannot acquire the D-Bus name, will retry");
            is_logged = true;
        }
        sleep(backoff.next_delay()).await;
    }
}
