//! Waits until a program leaves the bus.

use fedecks_dbus::messages;
use futures_util::StreamExt;
use zbus::message::Type;
use zbus::names::UniqueName;
use zbus::{Connection, MatchRule};

/// Returns when the program has left the bus, also if that was before the call. An error means that the connection to the
/// bus has failed, and the program is out of reach.
pub(super) async fn left(name: &UniqueName<'static>, connection: &Connection) -> zbus::Result<()> {
    let bus = "org.freedesktop.DBus";
    let rule = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(bus)?
        .member("NameOwnerChanged")?
        .arg(0, name.as_str())?
        .build();
    let mut changes = messages(connection, rule, Some(1)).await?;
    let path = "/org/freedesktop/DBus";
    let name = &(name.as_str(),);
    let reply = connection.call_method(Some(bus), path, Some(bus), "NameHasOwner", name).await?;
    if reply.body().deserialize::<bool>()? {
        changes.next().await;
    }
    Ok(())
}
