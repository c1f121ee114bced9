//! Who may call the service, see its signals and own its name, by the shipped policy.

use fedecks_device::Term;

use super::{call, call_error, credentials, error, gdbus, result};
use crate::support::bus::User;
use crate::support::scene::Scene;
use crate::support::{PASSWORD, Seen, push};

const DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";

#[tokio::test]
async fn other_users_are_denied_every_call() {
    let Some(scene) = Scene::unregistered().await else { return };
    let bus = &scene.bus;
    let credentials = credentials(PASSWORD);
    let introspect = "org.freedesktop.DBus.Introspectable.Introspect";
    let get = "org.freedesktop.DBus.Properties.Get";
    for (method, arguments) in [
        ("Login", vec![credentials.as_str()]),
        ("Logout", vec![]),
        ("Send", vec!["<'hello'>"]),
        ("SendRaw", vec!["[0x00]"]),
        ("NextMessage", vec!["normal", "0"]),
        ("Acknowledge", vec!["0123456789abcdef"]),
        ("Reject", vec!["0123456789abcdef", "no"]),
        ("Reconnect", vec![]),
        ("GetHealth", vec![]),
        (introspect, vec![]),
        (get, vec!["org.fedecks.Device1", "State"]),
        ("org.freedesktop.DBus.Peer.Ping", vec![]),
    ] {
        let error = call_error(bus, User::Stranger, method, &arguments).await;
        assert!(error.contains(DENIED), "{method}: {error}");
    }
    // The same by its unique name.
    let connection = bus.connect().await;
    let driver = zbus::fdo::DBusProxy::new(&connection).await.unwrap();
    let owner = driver.get_name_owner("org.fedecks.Device1".try_into().unwrap()).await.unwrap();
    let mut words = vec!["gdbus", "call", "--system", "--dest", owner.as_str()];
    words.extend(["--object-path", "/org/fedecks/Device1"]);
    words.extend(["--method", "org.fedecks.Device1.Send", "<'hello'>"]);
    let error = error(bus.run_as(User::Stranger, &words).await);
    assert!(error.contains(DENIED), "{error}");
}

#[tokio::test]
async fn root_and_the_group_may_call() {
    let Some(mut scene) = Scene::connected().await else { return };
    for user in [User::Root, User::Member] {
        result(gdbus(&scene.bus, user, "Send", &["<'hello'>"]).await);
        assert_eq!(scene.cloud.next().await, Seen::Message(Term::from("hello")));
        let get = "org.freedesktop.DBus.Properties.Get";
        let state = gdbus(&scene.bus, user, get, &["org.fedecks.Device1", "State"]).await;
        assert_eq!(result(state), "(<'connected'>,)\n");
    }
}

#[tokio::test]
async fn other_users_see_no_signal() {
    let Some(mut scene) = Scene::connected().await else { return };
    let mut member = scene.bus.monitor(User::Member).await;
    let mut stranger = scene.bus.monitor(User::Stranger).await;
    push(&scene.cloud, Term::from("secret")).await;
    member.until("MessageReceived (<'secret'>,)").await;
    call(&scene.bus, "Reconnect", &[]).await;
    member.until("Event ('connected'").await;
    scene.cloud.next().await;
    // The bus reports the end of the service to everyone, after all signals of the service.
    scene.service.kill().await;
    let seen = stranger.until("does not have an owner").await;
    assert_eq!(seen.len(), 1, "{seen:#?}");
}

#[tokio::test]
async fn only_root_and_the_services_user_may_own_the_name() {
    let Some(scene) = Scene::unregistered().await else { return };
    let request = async |user| {
        let mut words = vec!["gdbus", "call", "--system", "--dest", "org.freedesktop.DBus"];
        words.extend(["--object-path", "/org/freedesktop/DBus"]);
        words.extend(["--method", "org.freedesktop.DBus.RequestName", "org.fedecks.Device1", "4"]);
        scene.bus.run_as(user, &words).await
    };
    for user in [User::Stranger, User::Member] {
        let error = error(request(user).await);
        assert!(error.contains(DENIED), "{user:?}: {error}");
    }
    // DBUS_REQUEST_NAME_REPLY_EXISTS: allowed, but the service owns it.
    for user in [User::Root, User::Service] {
        assert_eq!(result(request(user).await), "(uint32 3,)\n", "{user:?}");
    }
}
