use fedecks_device::Term;

use super::{Scene, complaint, credentials, gdbus, said};
use crate::support::bus::User;
use crate::support::cloud::{PASSWORD, Seen};

#[tokio::test]
async fn who_is_not_of_the_group_is_refused_every_call() {
    let Some(scene) = Scene::start().await else { return };
    let bus = &scene.bus;
    let credentials = credentials(PASSWORD);
    let introspect = "org.freedesktop.DBus.Introspectable.Introspect";
    let get = "org.freedesktop.DBus.Properties.Get";
    for (method, arguments) in [
        ("Login", vec![credentials.as_str()]),
        ("Logout", vec![]),
        ("Send", vec!["<'hello'>"]),
        ("SendRaw", vec!["[0x00]"]),
        ("Reconnect", vec![]),
        ("GetHealth", vec![]),
        (introspect, vec![]),
        (get, vec!["org.fedecks.Device1", "State"]),
        ("org.freedesktop.DBus.Peer.Ping", vec![]),
    ] {
        let error = complaint(&gdbus(bus, User::Stranger, method, &arguments).await);
        assert!(error.contains("org.freedesktop.DBus.Error.AccessDenied"), "{method}: {error}");
    }
    // By the number that the bus gave the service it is the same service.
    let connection = bus.connect().await;
    let driver = zbus::fdo::DBusProxy::new(&connection).await.unwrap();
    let owner = driver.get_name_owner("org.fedecks.Device1".try_into().unwrap()).await.unwrap();
    let mut words = vec!["gdbus", "call", "--system", "--dest", owner.as_str()];
    words.extend(["--object-path", "/org/fedecks/Device1"]);
    words.extend(["--method", "org.fedecks.Device1.Send", "<'hello'>"]);
    let error = complaint(&bus.run_as(User::Stranger, &words).await);
    assert!(error.contains("org.freedesktop.DBus.Error.AccessDenied"), "{error}");
}

#[tokio::test]
async fn root_and_the_group_may_call() {
    let Some(mut scene) = Scene::connected().await else { return };
    for user in [User::Root, User::Member] {
        said(&gdbus(&scene.bus, user, "Send", &["<'hello'>"]).await);
        assert_eq!(scene.cloud.next().await, Seen::Message(Term::from("hello")));
        let get = "org.freedesktop.DBus.Properties.Get";
        let state = gdbus(&scene.bus, user, get, &["org.fedecks.Device1", "State"]).await;
        assert_eq!(said(&state), "(<'connected'>,)\n");
    }
}

#[tokio::test]
async fn who_is_not_of_the_group_sees_no_signal() {
    let Some(mut scene) = Scene::connected().await else { return };
    let mut member = scene.bus.monitor(User::Member).await;
    let mut stranger = scene.bus.monitor(User::Stranger).await;
    let device = crate::support::fedecksd::DEVICE.parse().unwrap();
    scene.cloud.hub.push(&device, Term::from("secret")).await.unwrap();
    member.until("MessageReceived (<'secret'>,)").await;
    said(&gdbus(&scene.bus, User::Member, "Reconnect", &[]).await);
    member.until("Event ('connected'").await;
    scene.cloud.next().await;
    // The end of the service is the bus's to tell, and everybody's to know: it comes after all that
    // the service signalled.
    scene.service.kill().await;
    let seen = stranger.until("does not have an owner").await;
    assert_eq!(seen.len(), 1, "{seen:#?}");
}

#[tokio::test]
async fn nobody_but_root_and_the_services_user_may_take_the_name() {
    let Some(scene) = Scene::start().await else { return };
    let request = async |user| {
        let mut words = vec!["gdbus", "call", "--system", "--dest", "org.freedesktop.DBus"];
        words.extend(["--object-path", "/org/freedesktop/DBus"]);
        words.extend(["--method", "org.freedesktop.DBus.RequestName", "org.fedecks.Device1", "4"]);
        scene.bus.run_as(user, &words).await
    };
    for user in [User::Stranger, User::Member] {
        let error = complaint(&request(user).await);
        assert!(error.contains("org.freedesktop.DBus.Error.AccessDenied"), "{user:?}: {error}");
    }
    // 3: it exists. They may have it, but it is taken.
    for user in [User::Root, User::Service] {
        assert_eq!(said(&request(user).await), "(uint32 3,)\n", "{user:?}");
    }
}
