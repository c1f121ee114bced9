//! Kept messages from the cloud, which programs on the bus take and acknowledge.

use std::time::{Duration, Instant};

use fedecks_cloud::messaging::KeepDown;
use fedecks_cloud::store::DownState;
use fedecks_dbus::{Device1Error, Device1Proxy, Dictionary};
use fedecks_protocol::Term;
use zbus::Connection;

use crate::support::bus::User;
use crate::support::fedecksd::{DEVICE, connected};
use crate::support::scene::{READY, Scene};
use crate::support::{By, Seen, kept_is, push, push_kept, until, within};

/// A program on the bus, which leaves it when this is dropped.
struct Program(Device1Proxy<'static>, Connection);

impl Program {
    async fn new(scene: &Scene) -> Self {
        let connection = scene.bus.connect().await;
        Self(Device1Proxy::new(&connection).await.unwrap(), connection)
    }

    /// The next message, once the lane is free: its id, what it is, whether it may have come before, and how often it was
    /// given to a program.
    async fn next(&self) -> (String, Term, bool, i128) {
        let next = async {
            loop {
                let next = self.0.next_message("normal", 20).await;
                if let Err(Device1Error::LaneInUse(_)) = next {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
                let (id, message, details) = next.unwrap();
                if !id.is_empty() {
                    let (redelivered, tries) = flags(&details);
                    return (id, message.into_term(), redelivered, tries);
                }
            }
        };
        within(next).await
    }

    async fn leaves(self) {
        self.1.close().await.unwrap();
    }
}

fn flags(details: &Dictionary) -> (bool, i128) {
    let (redelivered, tries) = (details.get("redelivered"), details.get("tries"));
    let (Some(Term::Bool(redelivered)), Some(Term::Int(tries))) = (redelivered, tries) else {
        panic!("{details:?}")
    };
    (*redelivered, *tries)
}

#[tokio::test]
async fn a_program_takes_acknowledges_and_rejects() {
    let Some(mut scene) = Scene::connected().await else { return };
    let first = push_kept(&scene.cloud, "one").await;
    let mut signals = scene.bus.monitor(User::Member).await;
    // It was not acknowledged because someone listens, and not signalled.
    let listening = Program::new(&scene).await;
    until(async || {
        let health = listening.0.get_health().await.unwrap().into_term();
        (health.get("inbox").unwrap().get("messages") == Some(&Term::from(1))).then_some(())
    })
    .await;
    push(&scene.cloud, "not kept".into()).await;
    let seen = signals.until("MessageReceived").await;
    assert!(seen.last().unwrap().contains("not kept"), "{seen:#?}");
    kept_is(&scene.cloud, first, DownState::Sent).await;

    let program = Program::new(&scene).await;
    assert_eq!(program.next().await, (first.to_string(), "one".into(), false, 1));
    let (_, _, nothing) = program.0.next_message("urgent", 0).await.unwrap();
    assert_eq!(nothing.get("tries"), None);
    // Others can neither take from the lane nor acknowledge.
    let other = Program::new(&scene).await;
    let refused = other.0.next_message("normal", 0).await;
    assert!(matches!(refused, Err(Device1Error::LaneInUse(_))), "{refused:?}");
    for id in [first.to_string(), "x".into()] {
        for refused in [other.0.acknowledge(&id).await, other.0.reject(&id, "no").await] {
            assert!(matches!(refused, Err(Device1Error::InvalidArgument(_))), "{refused:?}");
        }
    }
    let unknown = program.0.next_message("slow", 0).await;
    assert!(matches!(unknown, Err(Device1Error::InvalidArgument(_))), "{unknown:?}");
    program.0.acknowledge(&first.to_string()).await.unwrap();
    let again = program.0.acknowledge(&first.to_string()).await;
    assert!(matches!(again, Err(Device1Error::InvalidArgument(_))), "{again:?}");
    kept_is(&scene.cloud, first, DownState::Delivered).await;

    // Several may be out at a time.
    let [second, third] = [push_kept(&scene.cloud, 2).await, push_kept(&scene.cloud, 3).await];
    assert_eq!(program.next().await.0, second.to_string());
    assert_eq!(program.next().await.0, third.to_string());
    program.0.reject(&third.to_string(), "no such\nfan").await.unwrap();
    program.0.acknowledge(&second.to_string()).await.unwrap();
    kept_is(&scene.cloud, third, DownState::Rejected).await;
    kept_is(&scene.cloud, second, DownState::Delivered).await;
    scene.service.logs("a program has rejected a kept message").await;
    assert!(scene.service.log().contains("no such\\nfan"), "{}", scene.service.log());
}

#[tokio::test]
async fn what_a_program_had_when_it_left_comes_again_in_order() {
    let Some(scene) = Scene::connected().await else { return };
    let sent = [push_kept(&scene.cloud, 1).await, push_kept(&scene.cloud, 2).await];
    let waiting = Program::new(&scene).await;
    assert_eq!(waiting.next().await.0, sent[0].to_string());
    assert_eq!(waiting.next().await.0, sent[1].to_string());
    let call = waiting.0.clone();
    let call = tokio::spawn(async move { call.next_message("normal", 20).await });
    // It is there before this one is.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let busy = waiting.0.next_message("normal", 0).await;
    assert!(matches!(busy, Err(Device1Error::Busy(_))), "{busy:?}");
    let begun = Instant::now();
    waiting.leaves().await;
    let _ = call.await.unwrap();
    let program = Program::new(&scene).await;
    for (id, number) in sent.into_iter().zip(1..) {
        assert_eq!(program.next().await, (id.to_string(), Term::from(number), true, 2));
        program.0.acknowledge(&id.to_string()).await.unwrap();
        kept_is(&scene.cloud, id, DownState::Delivered).await;
    }
    // The call of the one that has left did not keep the lane.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn raw_messages_and_lanes_are_told_apart() {
    let Some(scene) = Scene::connected().await else { return };
    let device = DEVICE.parse().unwrap();
    let keep = KeepDown::default().with(|keep| keep.lane = fedecks_protocol::Lane::Urgent);
    let raw = scene.cloud.hub.send_kept_raw(&device, vec![0, 255], keep).await.unwrap();
    let program = Program::new(&scene).await;
    let (id, message, details) = within(program.0.next_message("urgent", 20)).await.unwrap();
    assert_eq!((id, message.term()), (raw.to_string(), &Term::Bytes(vec![0, 255])));
    assert_eq!(details.get("raw"), Some(&Term::Bool(true)));
    let Some(Term::Int(sent_at)) = details.get("sent_at_ms") else { panic!("{details:?}") };
    assert!(*sent_at > 1_700_000_000_000, "{sent_at}");
    program.0.acknowledge(&raw.to_string()).await.unwrap();
    kept_is(&scene.cloud, raw, DownState::Delivered).await;
}

#[tokio::test]
async fn a_message_without_a_form_on_the_bus_does_not_stop_the_lane() {
    let Some(mut scene) = Scene::connected().await else { return };
    let deep = (0..40).fold(Term::Nil, |term, _| Term::List(vec![term]));
    let [deep, next] = [push_kept(&scene.cloud, deep).await, push_kept(&scene.cloud, 1).await];
    let program = Program::new(&scene).await;
    assert_eq!(program.next().await.0, next.to_string());
    kept_is(&scene.cloud, deep, DownState::Rejected).await;
    scene.service.logs("that has no D-Bus form").await;
}

#[tokio::test]
async fn what_was_acknowledged_is_known_after_a_kill() {
    let run = tempfile::tempdir().unwrap();
    let directory = run.path().to_str().unwrap().to_owned();
    let with_run = |setup: crate::support::fedecksd::Setup| {
        setup.with_credentials().variable("RUNTIME_DIRECTORY", directory)
    };
    let Some(mut scene) = Scene::start(with_run).await else { return };
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));
    scene.is_provisioned().await;
    let [first, second] = [push_kept(&scene.cloud, 1).await, push_kept(&scene.cloud, 2).await];
    let program = Program::new(&scene).await;
    assert_eq!(program.next().await.0, first.to_string());
    assert_eq!(program.next().await.0, second.to_string());
    program.0.acknowledge(&first.to_string()).await.unwrap();
    until(async || run.path().join("positions").exists().then_some(())).await;
    scene.service.kill().await;
    program.leaves().await;

    scene.service = scene.setup.start();
    scene.service.logs(READY).await;
    assert_eq!(connected(&mut scene.cloud).await, By::Token);
    let program = Program::new(&scene).await;
    assert_eq!(program.next().await, (second.to_string(), Term::from(2), true, 1));
    kept_is(&scene.cloud, first, DownState::Delivered).await;
}
