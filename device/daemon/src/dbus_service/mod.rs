//! The service `org.fedecks.Device1` on the system bus.

mod error;
mod events;
mod interface;
mod properties;

use fedecks_common::Backoff;
use fedecks_dbus::{NAME, PATH};
use fedecks_device::{Client, Stopped, Subscription, SubscriptionError};
use tokio::select;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use zbus::Connection;
use zbus::object_server::SignalEmitter;

use crate::health::DeviceHealth;
use events::News;
use interface::Device1;
use properties::Shown;

/// Serves the client on every connection that `bus` brings, until the client or the bus's keeper ends.
pub(crate) async fn serve(
    client: Client,
    health: DeviceHealth,
    mut bus: watch::Receiver<Option<Connection>>,
) {
    let mut wait = Backoff::default();
    loop {
        let connection = match bus.wait_for(Option::is_some).await {
            Ok(connection) => connection.clone(),
            Err(_) => return,
        };
        let Some(connection) = connection else { continue };
        select! {
            ended = serve_on(&client, &health, &connection) => match ended {
                Ok(Stopped) => return,
                Err(error) => {
                    debug!(%error, "the D-Bus service begins anew");
                    // The connection is about to be known as ended, or the error was another one.
                    let _ = timeout(wait.next_delay(), bus.changed()).await;
                }
            },
            _ = bus.changed() => wait = Backoff::default(),
        }
    }
}

/// Serves the client on this connection, until the client ends or the connection fails.
async fn serve_on(
    client: &Client,
    health: &DeviceHealth,
    connection: &Connection,
) -> zbus::Result<Stopped> {
    let object = Device1::new(client.clone(), health.clone());
    connection.object_server().at(PATH, object).await?;
    own_name(connection).await?;
    // Nothing is signalled without the name: the bus's policy knows this program by it.
    let mut events = client.subscribe();
    let mut status = client.watch_status();
    let emitter = SignalEmitter::new(connection, PATH)?;
    let mut shown = Shown::of(client);
    shown.signal_all(&emitter).await?;
    loop {
        // In this order a caller that hears an event finds the properties already changed.
        select! {
            biased;
            changed = status.changed() => {
                if changed.is_err() {
                    return Ok(Stopped);
                }
                status.mark_unchanged();
                shown.update(Shown::of(client), &emitter).await?;
            }
            news = next(&mut events) => match news {
                Some(news) => signal(news, &emitter).await?,
                None => return Ok(Stopped),
            },
        }
    }
}

async fn next(events: &mut Subscription) -> Option<News> {
    match events.next().await {
        Ok(event) => Some(News::of(event)),
        Err(SubscriptionError::Lagged(count)) => {
            warn!(count, "callers on D-Bus missed events: the bus took them too slowly");
            Some(News::missed(count))
        }
        Err(SubscriptionError::Stopped(Stopped)) => None,
    }
}

async fn signal(news: News, emitter: &SignalEmitter<'_>) -> zbus::Result<()> {
    match news {
        News::Message(message) => Device1::message_received(emitter, &message).await,
        News::Raw(bytes) => Device1::raw_message_received(emitter, &bytes).await,
        News::Event { name, details } => Device1::event(emitter, name, &details).await,
    }
}

/// Asks for the name until this connection has it.
async fn own_name(connection: &Connection) -> zbus::Result<()> {
    const DO_NOT_QUEUE: u32 = 4;
    let bus = Some("org.freedesktop.DBus");
    let mut wait = Backoff::default();
    let mut is_told = false;
    loop {
        let asked = connection
            .call_method(bus, "/org/freedesktop/DBus", bus, "RequestName", &(NAME, DO_NOT_QUEUE))
            .await;
        let problem = match asked {
            // 1 is the primary owner, 4 was it already.
            Ok(reply) if [1, 4].contains(&reply.body().deserialize::<u32>()?) => {
                info!(name = NAME, "the D-Bus service is there");
                return Ok(());
            }
            Ok(_) => "another program has it".to_owned(),
            Err(zbus::Error::MethodError(name, text, _)) => match text {
                Some(text) => format!("{name}: {text}"),
                None => name.to_string(),
            },
            Err(error) => return Err(error),
        };
        if is_told {
            debug!(name = NAME, problem, "still no D-Bus service");
        } else {
            warn!(
                name = NAME,
                problem, "no D-Bus service: its name is asked for until it is granted"
            );
            is_told = true;
        }
        sleep(wait.next_delay()).await;
    }
}
