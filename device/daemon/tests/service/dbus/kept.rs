//! Kept messages over D-Bus, and with the command.

use fedecks_dbus::{Device1Error, Device1Proxy, Dictionary, Variant};
use fedecks_device::Term;
use tokio::task::JoinSet;

use crate::support::scene::Scene;
use crate::support::{Seen, within};

fn options(entries: &[(&str, Term)]) -> Dictionary {
    let entries = entries.iter().map(|(key, value)| (Term::from(*key), value.clone()));
    Dictionary::new(entries.collect()).unwrap()
}

fn value(text: &str) -> Variant {
    Variant::new(Term::from(text)).unwrap()
}

#[tokio::test]
async fn a_kept_message_is_stored_and_its_outcome_returned() {
    let Some(mut scene) = Scene::connected().await else { return };
    let connection = scene.bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    let tracked = options(&[("track", true.into()), ("lane", "urgent".into())]);
    let id = device.send_kept(&value("hi"), &tracked).await.unwrap();
    assert_eq!(scene.cloud.next().await, Seen::Message("hi".into()));
    assert_eq!(within(device.wait_settled(&id)).await.unwrap(), "delivered");
    let again = device.wait_settled(&id).await;
    assert!(matches!(again, Err(Device1Error::InvalidArgument(_))), "{again:?}");
    device.send_raw_kept(&[1, 2], &options(&[])).await.unwrap();
    assert_eq!(scene.cloud.next().await, Seen::Raw(vec![1, 2]));
    for (entries, expected) in [
        (options(&[("lane", "slow".into())]), "option lane: expected normal or urgent"),
        (options(&[("expires", 0.into())]), "option expires: expected 1 to 31536000 seconds"),
        (options(&[("track", 1.into())]), "option track: expected a boolean"),
        (options(&[("keep", "tape".into())]), "option keep: expected memory or disk"),
        (options(&[("sync", true.into())]), "option sync: only with keep"),
        (options(&[("place", "disk".into())]), "unknown option place, expected keep, sync, lane"),
    ] {
        let Err(Device1Error::InvalidArgument(text)) =
            device.send_kept(&value("x"), &entries).await
        else {
            panic!("accepted: {expected}")
        };
        assert!(text.starts_with(expected), "{text}");
    }
}

#[tokio::test]
async fn those_who_wait_for_outcomes_keep_no_one_from_calling() {
    let Some(scene) = Scene::unregistered().await else { return };
    let connection = scene.bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    let tracked = options(&[("track", true.into()), ("expires", 5.into())]);
    let mut waiting = JoinSet::new();
    for _ in 0..70 {
        let id = device.send_kept(&value("hi"), &tracked).await.unwrap();
        let device = device.clone();
        waiting.spawn(async move { device.wait_settled(&id).await });
    }
    // Those beyond the limit.
    for _ in 0..6 {
        let refused = within(waiting.join_next()).await.unwrap().unwrap();
        assert!(matches!(refused, Err(Device1Error::Busy(_))), "{refused:?}");
    }
    let sent = device.send(&value("now")).await;
    assert!(matches!(sent, Err(Device1Error::NotConnected(_))), "{sent:?}");
    device.logout().await.unwrap();
    while let Some(outcome) = waiting.join_next().await {
        assert_eq!(outcome.unwrap().unwrap(), "expired");
    }
}
