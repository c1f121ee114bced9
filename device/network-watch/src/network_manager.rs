//! The network as NetworkManager reports it over D-Bus. Calls its methods without zbus's proxies, whose cache of
//! properties is not needed and would add 50 KB to the service.

use std::collections::HashMap;
use std::future::pending;
use std::pin::pin;

use fedecks_common::Backoff;
use fedecks_dbus::messages;
use fedecks_device_core::Manager;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};
use zbus::message::Type;
use zbus::names::OwnedUniqueName;
use zbus::zvariant::{ObjectPath, Value};
use zbus::{Connection, MatchRule, Message, MessageStream};

const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
const NAME: &str = "org.freedesktop.NetworkManager";
const PATH: &str = "/org/freedesktop/NetworkManager";
/// The error of the bus for a name without an owner.
const NO_OWNER: &str = "org.freedesktop.DBus.Error.NameHasNoOwner";
/// The properties that are read here.
const PROPERTIES: [&str; 4] = ["State", "Connectivity", "PrimaryConnection", "Startup"];

/// Reports NetworkManager's properties, initially and after each change; `None` while it does not run or
/// does not answer. Never ends.
pub(crate) async fn watch(
    mut bus: watch::Receiver<Option<Connection>>,
    report: impl Fn(Option<Manager>),
) {
    let mut backoff = Backoff::default();
    loop {
        let connection = bus.borrow_and_update().clone();
        let on_this_bus = async {
            match &connection {
                Some(connection) => watch_on(connection, &report).await,
                None => pending().await,
            }
        };
        let changed = tokio::select! {
            ended = on_this_bus => {
                if let Err(error) = ended {
                    debug!(%error, "cannot watch NetworkManager, will retry");
                }
                report(None);
                tokio::select! {
                    () = sleep(backoff.next_delay()) => Ok(()),
                    changed = bus.changed() => changed,
                }
            }
            changed = bus.changed() => {
                backoff.reset();
                changed
            }
        };
        report(None);
        if changed.is_err() {
            // The sender was dropped: the program is shutting down.
            pending::<()>().await;
        }
    }
}

/// Watches NetworkManager until this connection ends.
async fn watch_on(connection: &Connection, report: &impl Fn(Option<Manager>)) -> zbus::Result<()> {
    // Subscribe first, then query, so that no change is missed in between.
    let rule = MatchRule::builder().msg_type(Type::Signal).sender(BUS)?.interface(BUS)?;
    let rule = rule.member("NameOwnerChanged")?.add_arg(NAME)?;
    let mut owners = messages(connection, rule.build(), None).await?;
    let asked = connection.call_method(Some(BUS), BUS_PATH, Some(BUS), "GetNameOwner", &(NAME,));
    let mut owner: Option<OwnedUniqueName> = match asked.await {
        Ok(reply) => Some(reply.body().deserialize()?),
        Err(zbus::Error::MethodError(name, ..)) if name.as_str() == NO_OWNER => None,
        Err(error) => return Err(error),
    };
    loop {
        let with_this_owner = async {
            match &owner {
                Some(owner) => watch_owner(connection, owner, report).await,
                None => pending().await,
            }
        };
        let change = tokio::select! {
            ended = with_this_owner => return ended,
            change = owners.next() => change,
        };
        let Some(change) = change else { return Ok(()) };
        let body = change?.body();
        let (_, _, new): (&str, &str, &str) = body.deserialize()?;
        owner = if new.is_empty() { None } else { Some(new.try_into()?) };
        report(None);
    }
}

/// Watches the process that is currently NetworkManager, until the connection ends.
async fn watch_owner(
    connection: &Connection,
    owner: &OwnedUniqueName,
    report: &impl Fn(Option<Manager>),
) -> zbus::Result<()> {
    // By the owner's unique name: signals from other processes are ignored.
    let rule = MatchRule::builder().msg_type(Type::Signal).sender(owner.as_str())?.path(PATH)?;
    let mut signals = messages(connection, rule.build(), None).await?;
    let mut backoff = Backoff::default();
    loop {
        let Some((read, has_changed)) = read_draining(connection, owner, &mut signals).await?
        else {
            return Ok(());
        };
        let retry_after = match read {
            Ok(manager) => {
                backoff.reset();
                report(Some(manager));
                None
            }
            // It acquires its name some milliseconds before it answers queries.
            Err(error) => {
                let delay = backoff.next_delay();
                if backoff.failures() == 2 {
                    warn!(%error, "NetworkManager does not answer, will retry");
                } else {
                    debug!(%error, "NetworkManager does not answer");
                }
                report(None);
                Some(delay)
            }
        };
        if has_changed {
            continue;
        }
        tokio::select! {
            () = sleep(retry_after.unwrap_or_default()), if retry_after.is_some() => {}
            changed = next_change(&mut signals) => if !changed? { return Ok(()) },
        }
    }
}

/// Reads the properties. The flag is true if they may have changed meanwhile; `None` if the connection
/// has ended. Drains the signals meanwhile: a full stream would block everything that arrives over the
/// connection, including the replies.
async fn read_draining(
    connection: &Connection,
    owner: &OwnedUniqueName,
    signals: &mut MessageStream,
) -> zbus::Result<Option<(zbus::Result<Manager>, bool)>> {
    let mut answer = pin!(read(connection, owner));
    let mut has_changed = false;
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return Ok(Some((answer, has_changed))),
            changed = next_change(signals) => match changed? {
                true => has_changed = true,
                false => return Ok(None),
            },
        }
    }
}

async fn read(connection: &Connection, owner: &OwnedUniqueName) -> zbus::Result<Manager> {
    let of = Some("org.freedesktop.DBus.Properties");
    let asked = connection.call_method(Some(owner.as_str()), PATH, of, "GetAll", &(NAME,));
    let reply = asked.await?;
    let body = reply.body();
    let mut properties: HashMap<&str, Value<'_>> = body.deserialize()?;
    let mut take = |name| {
        let missing = || zbus::Error::Failure(format!("NetworkManager has no property {name}"));
        properties.remove(name).ok_or_else(missing)
    };
    let [state, connectivity, primary, startup] = PROPERTIES.map(&mut take);
    Ok(Manager {
        state: state?.try_into()?,
        connectivity: connectivity?.try_into()?,
        primary: ObjectPath::try_from(primary?)?.as_str().to_owned(),
        is_starting: startup?.try_into()?,
    })
}

/// Waits until a relevant property has changed; returns false if the connection has ended.
/// NetworkManager emits many other signals, and bursts of changes.
async fn next_change(signals: &mut MessageStream) -> zbus::Result<bool> {
    while let Some(signal) = signals.next().await {
        if !is_change(&signal?) {
            continue;
        }
        while let Some(Some(_)) = signals.next().now_or_never() {}
        return Ok(true);
    }
    Ok(false)
}

fn is_change(signal: &Message) -> bool {
    let header = signal.header();
    match header.member().map(|member| member.as_str()) {
        Some("StateChanged") => true,
        Some("PropertiesChanged") => {
            let body = signal.body();
            let changes = body.deserialize::<(&str, HashMap<&str, Value<'_>>, Vec<&str>)>();
            changes.map_or(true, |(_, changed, invalidated)| {
                let has = |name| changed.contains_key(name) || invalidated.contains(&name);
                PROPERTIES.into_iter().any(has)
            })
        }
        _ => false,
    }
}
