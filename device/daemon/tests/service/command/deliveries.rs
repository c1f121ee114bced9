//! `fedecks listen --ack`: kept messages from the cloud, printed or for a program, and acknowledged.

use std::path::Path;
use std::process::Stdio;

use fedecks_cloud::messaging::KeepDown;
use fedecks_cloud::store::DownState;
use fedecks_protocol::{Lane, Term};
use serde_json::{Value, json};

use super::fedecks::{Following, command, ended};
use crate::support::fedecksd::{DEVICE, connected};
use crate::support::scene::{READY, Scene};
use crate::support::{By, kept_is, push_kept, within, write};

/// Starts `listen --ack --exec sh -- -c script` with these options.
async fn listen(scene: &Scene, options: &[&str], script: &str) -> Following {
    let arguments = [&["listen", "--ack"], options, &["--exec", "sh", "--", "-c", script]].concat();
    scene.follow(&arguments).await
}

/// The next object that it prints, without the time.
async fn printed(listening: &mut Following) -> Value {
    let mut line: Value = serde_json::from_str(&listening.prints().await).unwrap();
    let sent_at = line.as_object_mut().unwrap().remove("sent_at").unwrap();
    assert!(sent_at.as_str().unwrap().starts_with("20"), "{sent_at}");
    line
}

#[tokio::test]
async fn messages_are_printed_and_then_acknowledged() {
    let Some(scene) = Scene::connected().await else { return };
    // From before the command.
    let first = push_kept(&scene.cloud, "one").await;
    let mut listening = scene.follow(&["listen", "--ack", "--count", "3"]).await;
    let expected = json!({
        "id": first.to_string(), "lane": "normal", "redelivered": false, "raw": false,
        "message": "one",
    });
    assert_eq!(printed(&mut listening).await, expected);
    kept_is(&scene.cloud, first, DownState::Delivered).await;
    let other = ["listen", "--ack", "--count", "1"];
    scene.run(&other).await.fails(1, "takes the messages of the lane normal");

    let (device, keep) = (DEVICE.parse().unwrap(), KeepDown::default());
    let raw = scene.cloud.hub.send_kept_raw(&device, vec![104, 105], keep).await.unwrap();
    let line = printed(&mut listening).await;
    assert_eq!((&line["raw"], &line["message"]), (&json!(true), &json!({"$bytes": "aGk="})));
    kept_is(&scene.cloud, raw, DownState::Delivered).await;

    // Another lane has another command.
    let keep = KeepDown::default().with(|keep| keep.lane = Lane::Urgent);
    let smoke = scene.cloud.hub.send_kept(&device, "smoke", keep).await.unwrap();
    let mut urgent = scene.follow(&["listen", "--ack", "--lane", "urgent", "-n", "1"]).await;
    assert_eq!(printed(&mut urgent).await["lane"], "urgent");
    urgent.ends(0).await;
    kept_is(&scene.cloud, smoke, DownState::Delivered).await;
    let last = push_kept(&scene.cloud, 3).await;
    assert_eq!(printed(&mut listening).await["message"], 3);
    listening.ends(0).await;
    kept_is(&scene.cloud, last, DownState::Delivered).await;
}

#[tokio::test]
async fn it_continues_after_a_restart_of_the_service() {
    let Some(mut scene) = Scene::connected().await else { return };
    let mut listening = scene.follow(&["listen", "--ack"]).await;
    scene.service.kill().await;
    assert!(listening.notes().await.contains("fedecksd has stopped"));
    scene.service = scene.setup.start();
    scene.service.logs(READY).await;
    assert_eq!(connected(&mut scene.cloud).await, By::Token);
    let id = push_kept(&scene.cloud, "again").await;
    assert_eq!(printed(&mut listening).await["message"], "again");
    kept_is(&scene.cloud, id, DownState::Delivered).await;
    // When the reader of its output is gone, nothing is taken any longer.
    listening.close();
    assert_eq!(within(listening.child.wait()).await.unwrap().code(), Some(0));
    let id = push_kept(&scene.cloud, "unseen").await;
    kept_is(&scene.cloud, id, DownState::Sent).await;
    let mut listening = scene.follow(&["listen", "--ack", "-n", "1"]).await;
    assert_eq!(printed(&mut listening).await["message"], "unseen");
    listening.ends(0).await;
}

#[tokio::test]
async fn a_program_gets_the_message_and_what_is_known_about_it() {
    let Some(scene) = Scene::connected().await else { return };
    let script = "cat; echo $FEDECKS_MESSAGE_ID $FEDECKS_MESSAGE_LANE $FEDECKS_MESSAGE_TRY \
        $FEDECKS_MESSAGE_REDELIVERED $FEDECKS_MESSAGE_RAW ${FEDECKS_MESSAGE_SENT_AT%T*}";
    let mut listening = listen(&scene, &["-n", "2"], script).await;
    let fan = Term::Map(vec![("fan".into(), true.into())]);
    let first = push_kept(&scene.cloud, fan).await;
    assert_eq!(listening.prints().await, r#"{"fan":true}"#);
    let line = listening.prints().await;
    assert!(line.starts_with(&format!("{first} normal 1 false false 20")), "{line}");
    kept_is(&scene.cloud, first, DownState::Delivered).await;
    let (device, keep) = (DEVICE.parse().unwrap(), KeepDown::default());
    let raw = scene.cloud.hub.send_kept_raw(&device, "raw\n", keep).await.unwrap();
    assert_eq!(listening.prints().await, "raw");
    let line = listening.prints().await;
    assert!(line.starts_with(&format!("{raw} normal 1 false true 20")), "{line}");
    listening.ends(0).await;
    kept_is(&scene.cloud, raw, DownState::Delivered).await;
}

#[tokio::test]
async fn what_a_program_cannot_take_is_rejected_after_its_tries() {
    let Some(scene) = Scene::connected().await else { return };
    // The exit status 75 is not counted.
    let script = "read number; echo $number $FEDECKS_MESSAGE_TRY; case $number$FEDECKS_MESSAGE_TRY in \
        1*) exit 3 ;; 21) mkdir \"$0\" 2>&- && exit 75; exit 4 ;; esac";
    let marker = scene.setup.folder.path().join("later");
    let arguments =
        ["listen", "--ack", "--tries", "2", "-n", "3", "--exec", "sh", "--", "-c", script];
    let arguments = [&arguments[..], &[marker.to_str().unwrap()]].concat();
    let mut listening = scene.follow(&arguments).await;
    let ids = [
        push_kept(&scene.cloud, 1).await,
        push_kept(&scene.cloud, 2).await,
        push_kept(&scene.cloud, 3).await,
    ];
    for expected in ["1 1", "1 2", "2 1", "2 1", "2 2", "3 1"] {
        assert_eq!(listening.prints().await, expected);
    }
    assert_eq!(listening.notes().await, "fedecks: sh: exit status: 3");
    let reason = format!("fedecks: rejected message {}: sh: exit status: 3", ids[0]);
    assert_eq!(listening.notes().await, reason);
    assert_eq!(listening.notes().await, "fedecks: sh: exit status: 75");
    assert_eq!(listening.notes().await, "fedecks: sh: exit status: 4");
    listening.ends_with(1, "1 message was rejected").await;
    kept_is(&scene.cloud, ids[0], DownState::Rejected).await;
    kept_is(&scene.cloud, ids[1], DownState::Delivered).await;
    kept_is(&scene.cloud, ids[2], DownState::Delivered).await;
}

#[tokio::test]
async fn a_message_that_kills_the_command_is_rejected_too() {
    let Some(scene) = Scene::connected().await else { return };
    let deadly = push_kept(&scene.cloud, 1).await;
    let next = push_kept(&scene.cloud, 2).await;
    let script = "read number; [ $number != 1 ] || kill -KILL $PPID";
    for _ in 0..2 {
        let mut listening = listen(&scene, &["--tries", "2"], script).await;
        assert_eq!(within(listening.child.wait()).await.unwrap().code(), None);
    }
    let listening = listen(&scene, &["--tries", "2", "-n", "2"], script).await;
    listening.ends_with(1, "it was taken 2 times, and not acknowledged").await;
    kept_is(&scene.cloud, deadly, DownState::Rejected).await;
    kept_is(&scene.cloud, next, DownState::Delivered).await;
}

/// The script of `docs/delivery.md`.
fn documented() -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/delivery.md");
    let document = std::fs::read_to_string(document).unwrap();
    let script = document.split("```sh\n").find(|part| part.starts_with("#!/bin/sh"));
    script.unwrap().split_once("```").unwrap().0.to_owned()
}

#[tokio::test]
async fn the_documented_program_takes_each_message_once() {
    let Some(scene) = Scene::connected().await else { return };
    let folder = scene.setup.folder.path();
    let program = folder.join("on-message");
    write(&program, documented(), 0o755);
    let arguments = ["listen", "--ack", "-n", "2", "--exec", "./on-message"];
    let ids = [push_kept(&scene.cloud, "a").await, push_kept(&scene.cloud, "b").await];
    let child = command(&scene.bus.address(), &arguments).current_dir(folder).spawn().unwrap();
    let ended = ended(child).await;
    assert_eq!(ended.stderr, "fedecks: listening for kept messages\n");
    for id in ids {
        kept_is(&scene.cloud, id, DownState::Delivered).await;
    }
    let expected = format!("{} \"a\"\n{} \"b\"\n", ids[0], ids[1]);
    assert_eq!(std::fs::read_to_string(folder.join("orders")).unwrap(), expected);
    // The same message again.
    let mut again = tokio::process::Command::new(&program);
    again.current_dir(folder).env("FEDECKS_MESSAGE_ID", ids[0].to_string()).stdin(Stdio::null());
    assert!(within(again.status()).await.unwrap().success());
    assert_eq!(std::fs::read_to_string(folder.join("orders")).unwrap(), expected);
}

#[tokio::test]
async fn options_that_make_no_sense_together_are_refused() {
    let Some(scene) = Scene::unregistered().await else { return };
    for arguments in [
        &["listen", "--lane", "urgent"][..],
        &["listen", "--ack", "--raw"],
        &["listen", "--ack", "--tries", "3"],
        &["listen", "--tries", "3", "--exec", "true"],
        &["listen", "--ack", "--exec", "true", "--tries", "0"],
    ] {
        scene.run(arguments).await.fails(2, "--help");
    }
}
