//! NetworkManager over D-Bus.

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
/// The properties that are read.
const READ: [&str; 4] = ["State", "Connectivity", "PrimaryConnection", "Startup"];

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

/// Tells what NetworkManager shows, at first and whenever it says that something has changed; `None`
/// while it is not there or does not answer. Never ends.
pub(crate) async fn watch(
    mut bus: watch::Receiver<Option<Connection>>,
    tell: impl Fn(Option<Manager>),
) {
    let mut wait = Backoff::default();
    loop {
        let connection = bus.borrow_and_update().clone();
        let on_this_bus = async {
            match &connection {
                Some(connection) => on_bus(connection, &tell).await,
                None => pending().await,
            }
        };
        let changed = tokio::select! {
            ended = on_this_bus => {
                if let Err(error) = ended {
                    debug!(%error, "NetworkManager cannot be watched for now");
                }
                tell(None);
                tokio::select! {
                    () = sleep(wait.next_delay()) => Ok(()),
                    changed = bus.changed() => changed,
                }
            }
            changed = bus.changed() => {
                wait = Backoff::default();
                changed
            }
        };
        tell(None);
        if changed.is_err() {
            // Nobody keeps the bus any more: the program ends.
            pending::<()>().await;
        }
    }
}

/// As long as this bus is there.
async fn on_bus(connection: &Connection, tell: &impl Fn(Option<Manager>)) -> zbus::Result<()> {
    let bus = DBusProxy::builder(connection).cache_properties(CacheProperties::No).build().await?;
    // Subscribed before it is asked, so that no change falls in between.
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
                Some(owner) => with_owner(connection, owner, tell).await,
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
        tell(None);
    }
}

/// As long as this process is NetworkManager. Ends with the bus.
async fn with_owner(
    connection: &Connection,
    owner: &UniqueName<'_>,
    tell: &impl Fn(Option<Manager>),
) -> zbus::Result<()> {
    // By the owner's unique name: nobody else's signals count.
    let rule = MatchRule::builder().msg_type(Type::Signal).sender(owner.as_str())?.path(PATH)?;
    let mut signals = messages(connection, rule.build(), None).await?;
    let proxy = NetworkManagerProxy::builder(connection)
        .destination(owner.as_str())?
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    let mut failures = 0_u32;
    let mut wait = Backoff::default();
    loop {
        let Some((read, has_changed)) = read_meanwhile(&proxy, &mut signals).await? else {
            return Ok(());
        };
        match read {
            Ok(manager) => {
                failures = 0;
                wait = Backoff::default();
                tell(Some(manager));
            }
            // It takes its name some milliseconds before it has anything to show.
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 2 {
                    warn!(%error, "NetworkManager does not answer: it is asked again");
                } else {
                    debug!(%error, "NetworkManager does not answer");
                }
                tell(None);
            }
        }
        if has_changed {
            continue;
        }
        let again = async {
            match failures {
                0 => pending().await,
                1.. => sleep(wait.next_delay()).await,
            }
        };
        tokio::select! {
            () = again => {}
            changed = next_change(&mut signals) => if !changed? { return Ok(()) },
        }
    }
}

/// Reads, and tells whether something may have changed meanwhile; `None` at the end of the bus. What
/// is signalled has to be taken meanwhile: a stream that is full holds up everything that comes over
/// the connection, the answers as well.
async fn read_meanwhile(
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

/// Waits until something that is read has changed; `false` at the end of the bus. It signals a lot
/// more than that, and many changes in a row.
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
                READ.iter().any(|name| changed.contains_key(name) || invalidated.contains(name))
            })
        }
        Some(_) | None => false,
    }
}
