//! NetworkManager over D-Bus.

use std::future::pending;

use fedecks_device_core::Manager;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};
use zbus::fdo::DBusProxy;
use zbus::message::Type;
use zbus::names::UniqueName;
use zbus::proxy::CacheProperties;
use zbus::zvariant::OwnedObjectPath;
use zbus::{Connection, MatchRule, MessageStream};

use crate::system_bus::GrowingWait;

const NAME: &str = "org.freedesktop.NetworkManager";
const PATH: &str = "/org/freedesktop/NetworkManager";

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
pub(super) async fn watch(
    mut bus: watch::Receiver<Option<Connection>>,
    tell: impl Fn(Option<Manager>),
) {
    let mut wait = GrowingWait::new();
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
                    () = sleep(wait.next()) => Ok(()),
                    changed = bus.changed() => changed,
                }
            }
            changed = bus.changed() => {
                wait = GrowingWait::new();
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
    let mut owners = bus.receive_name_owner_changed_with_args(&[(0, NAME)]).await?;
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
            () = with_this_owner => return Ok(()),
            change = owners.next() => change,
        };
        let Some(change) = change else { return Ok(()) };
        owner = change.args()?.new_owner().as_ref().map(UniqueName::to_owned);
        tell(None);
    }
}

/// As long as this process is NetworkManager. One that does not answer counts as not there, and is
/// asked again after a while that grows. Ends with the bus.
async fn with_owner(
    connection: &Connection,
    owner: &UniqueName<'_>,
    tell: &impl Fn(Option<Manager>),
) {
    let mut wait = GrowingWait::new();
    let mut is_told = false;
    loop {
        match follow(connection, owner, tell).await {
            Ok(()) => return,
            Err(error) if is_told => debug!(%error, "NetworkManager still does not answer"),
            Err(error) => {
                warn!(%error, "NetworkManager does not answer: it is asked again");
                is_told = true;
            }
        }
        tell(None);
        sleep(wait.next()).await;
    }
}

async fn follow(
    connection: &Connection,
    owner: &UniqueName<'_>,
    tell: &impl Fn(Option<Manager>),
) -> zbus::Result<()> {
    // By the owner's unique name: nobody else's signals count.
    let signals =
        MatchRule::builder().msg_type(Type::Signal).sender(owner.as_str())?.path(PATH)?.build();
    let mut signals = MessageStream::for_match_rule(signals, connection, None).await?;
    let proxy = NetworkManagerProxy::builder(connection)
        .destination(owner.as_str())?
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    loop {
        let (state, connectivity, primary, is_starting) = tokio::try_join!(
            proxy.state(),
            proxy.connectivity(),
            proxy.primary_connection(),
            proxy.startup(),
        )?;
        let primary = primary.as_str().to_owned();
        tell(Some(Manager { state, connectivity, primary, is_starting }));
        loop {
            let Some(signal) = signals.next().await else { return Ok(()) };
            let signal = signal?;
            let header = signal.header();
            let member = header.member().map(|member| member.as_str());
            if matches!(member, Some("StateChanged" | "PropertiesChanged")) {
                break;
            }
        }
    }
}
