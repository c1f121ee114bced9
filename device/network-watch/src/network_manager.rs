//! The network as NetworkManager reports it over D-Bus.

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
use zbus::fdo::{DBusProxy, NameOwnerChanged};
use zbus::message::Type;
use zbus::names::UniqueName;
use zbus::proxy::CacheProperties;
use zbus::zvariant::{OwnedObjectPath, Value};
use zbus::{Connection, MatchRule, Message, MessageStream};

const BUS: &str = "org.freedesktop.DBus";
const NAME: &str = "org.freedesktop.NetworkManager";
const PATH: &str = "/org/freedesktop/NetworkManager";
/// The properties that are read here.
const PROPERTIES: [&str; 4] = ["State", "Connectivity", "PrimaryConnection", "Startup"];

#[zbus::proxy(
    interface = "org.freedesktop.NetworkManager",
    default_path = "/org/freedesktop/NetworkManager",
    gen_blocking = false
)]
trait NetworkManager {
    #[zbus(property)]
    fn state(&self) -> zbus::Result<u32>;

    #[zbus(property)]
    fn connectivity(&self) -> zbus::Result<u32>;

    #[zbus(property)]
    fn primary_connection(&self) -> zbus::Result<OwnedObjectPath>;

    #[zbus(property)]
    fn startup(&self) -> zbus::Result<bool>;
}

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
    let bus = DBusProxy::builder(connection).cache_properties(CacheProperties::No).build().await?;
    // Subscribe first, then query, so that no change is missed in between.
    let rule = MatchRule::builder().msg_type(Type::Signal).sender(BUS)?.interface(BUS)?;
    let rule = rule.member("NameOwnerChanged")?.add_arg(NAME)?;
    let mut owners = messages(connection, rule.build(), None).await?;
    let mut owner = match bus.get_name_owner(NAME.try_into()?).await {
        Ok(owner) => Some(owner.into()),
        Err(zbus::fdo::Error::NameHasNoOwner(_)) => None,
        Err(error) => return Err(error.into()),
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
        let Some(change) = NameOwnerChanged::from_message(change?) else { continue };
        owner = change.args()?.new_owner().as_ref().map(UniqueName::to_owned);
        report(None);
    }
}

/// Watches the process that is currently NetworkManager, until the connection ends.
async fn watch_owner(
    connection: &Connection,
    owner: &UniqueName<'_>,
    report: &impl Fn(Option<Manager>),
) -> zbus::Result<()> {
    // By the owner's unique name: signals from other processes are ignored.
    let rule = MatchRule::builder().msg_type(Type::Signal).sender(owner.as_str())?.path(PATH)?;
    let mut signals = messages(connection, rule.build(), None).await?;
    let proxy = NetworkManagerProxy::builder(connection)
        .destination(owner.as_str())?
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    let mut backoff = Backoff::default();
    loop {
        let Some((read, has_changed)) = read_draining(&proxy, &mut signals).await? else {
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
    proxy: &NetworkManagerProxy<'_>,
    signals: &mut MessageStream,
) -> zbus::Result<Option<(zbus::Result<Manager>, bool)>> {
    let mut answer = pin!(read(proxy));
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

async fn read(proxy: &NetworkManagerProxy<'_>) -> zbus::Result<Manager> {
    let (state, connectivity, primary, is_starting) = tokio::try_join!(
        proxy.state(),
        proxy.connectivity(),
        proxy.primary_connection(),
        proxy.startup(),
    )?;
    Ok(Manager { state, connectivity, primary: primary.as_str().to_owned(), is_starting })
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
