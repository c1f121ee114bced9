//! Whether a program is on the bus, and when it leaves.

use fedecks_dbus::messages;
use futures_util::StreamExt;
use zbus::message::Type;
use zbus::names::UniqueName;
use zbus::{Connection, MatchRule};

const BUS: &str = "org.freedesktop.DBus";

/// Returns when the program has left the bus, also if that was before the call. An error means that the connection to the
/// bus has failed, and the program is out of reach.
pub(super) async fn left(name: &UniqueName<'static>, connection: &Connection) -> zbus::Result<()> {
    let rule = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(BUS)?
        .member("NameOwnerChanged")?
        .arg(0, name.as_str())?
        .build();
    let mut changes = messages(connection, rule, Some(1)).await?;
    if is_on_bus(name, connection).await? {
        changes.next().await;
    }
    Ok(())
}

/// Whether the program of this unique name is on the bus.
pub(super) async fn is_on_bus(name: &str, connection: &Connection) -> zbus::Result<bool> {
    let path = "/org/freedesktop/DBus";
    let reply =
        connection.call_method(Some(BUS), path, Some(BUS), "NameHasOwner", &(name,)).await?;
    reply.body().deserialize()
}
