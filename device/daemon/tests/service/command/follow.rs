//! The commands that run until they are stopped: `listen` and `events`.

use std::fs;

use fedecks_protocol::Term;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::fedecks::Following;
use crate::support::scene::Scene;
use crate::support::{By, Seen, push, push_raw};

pub(super) fn signal(following: &Following, signal: Signal) {
    let id = following.child.id().unwrap();
    kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
}

#[tokio::test]
async fn messages_arrive_in_order_until_the_count_is_reached() {
    let Some(scene) = Scene::connected().await else { return };
    let mut listening = scene.follow(&["listen", "--count", "200"]).await;
    // At most as many at once as the service queues for its callers.
    for first in (0..200).step_by(40) {
        for number in first..first + 40 {
            push(&scene.cloud, Term::Int(number)).await;
        }
        for number in first..first + 40 {
            assert_eq!(listening.prints().await, number.to_string());
        }
    }
    listening.ends(0).await;
}

#[tokio::test]
async fn values_and_raw_messages_are_printed_as_lines_of_json() {
    let Some(scene) = Scene::connected().await else { return };
    let mut values = scene.follow(&["listen"]).await;
    let mut raw = scene.follow(&["listen", "--raw"]).await;
    push_raw(&scene.cloud, &[0, 255]).await;
    let term = Term::Map(vec![
        (Term::from("name"), Term::from("a\nb")),
        (Term::from("bytes"), Term::Bytes(vec![1])),
        (Term::from("pair"), Term::Tuple(vec![Term::Nil, Term::Int(i128::MAX)])),
    ]);
    push(&scene.cloud, term).await;
    assert_eq!(raw.prints().await, r#"{"$bytes":"AP8="}"#);
    let line: serde_json::Value = serde_json::from_str(&values.prints().await).unwrap();
    let big = i128::MAX.to_string();
    let expected = serde_json::json!({
        "name": "a\nb", "bytes": {"$bytes": "AQ=="}, "pair": [null, {"$int": big}],
    });
    assert_eq!(line, expected);
    assert_eq!(line.as_object().unwrap().len(), 3);

    signal(&values, Signal::SIGINT);
    values.ends(130).await;
    signal(&raw, Signal::SIGTERM);
    raw.ends(143).await;
}

#[tokio::test]
async fn a_closed_standard_output_or_bus_ends_it() {
    let Some(scene) = Scene::connected().await else { return };
    for arguments in [&["listen"][..], &["events"]] {
        let mut following = scene.follow(arguments).await;
        following.close();
        // Not only at the next message.
        following.ends(0).await;
    }
    let listening = scene.follow(&["listen"]).await;
    drop(scene.bus);
    listening.ends_with(3, "no system bus").await;
}

#[tokio::test]
async fn a_program_reads_each_message_from_its_standard_input() {
    let Some(scene) = Scene::connected().await else { return };
    let got = scene.setup.folder.path().join("got");
    let script = format!("cat >> {0}; echo end >> {0}", got.display());
    let exec = ["listen", "--count", "3", "--exec", "sh", "--", "-c", &script, "-x"];
    let listening = scene.follow(&exec).await;
    for text in ["one", "two", "three"] {
        push(&scene.cloud, Term::from(text)).await;
    }
    listening.ends(0).await;
    let expected = "\"one\"\nend\n\"two\"\nend\n\"three\"\nend\n";
    assert_eq!(fs::read_to_string(&got).unwrap(), expected);

    fs::remove_file(&got).unwrap();
    let raw = ["listen", "--raw", "--count", "1", "--exec", "sh", "--", "-c", &script];
    let listening = scene.follow(&raw).await;
    push_raw(&scene.cloud, &[b'x', 0, 255]).await;
    listening.ends_with(0, "").await;
    assert_eq!(fs::read(&got).unwrap(), b"x\0\xffend\n");
}

#[tokio::test]
async fn a_failing_program_is_reported_and_runs_again() {
    let Some(scene) = Scene::connected().await else { return };
    // It does not read a message, which is larger than a pipe's buffer.
    let listening =
        scene.follow(&["listen", "--count", "2", "--exec", "sh", "--", "-c", "exit 3"]).await;
    push(&scene.cloud, Term::Bytes(vec![7; 200_000])).await;
    push(&scene.cloud, Term::Nil).await;
    let errors = listening.ends_with(1, "").await;
    assert_eq!(errors.matches("fedecks: sh: exit status: 3\n").count(), 2, "{errors}");
    assert!(errors.ends_with("the program failed for 2 messages\n"), "{errors}");

    let slow = ["--exec-timeout", "100ms", "--exec", "sleep", "--", "600"];
    let listening = scene.follow(&[&["listen", "-n", "1"], &slow[..]].concat()).await;
    push(&scene.cloud, Term::Nil).await;
    listening.ends_with(1, "sleep: killed after 0.1 s").await;

    // One that disappears meanwhile.
    let program = scene.setup.folder.path().join("program");
    fs::copy("/bin/true", &program).unwrap();
    let exec = ["listen", "-n", "1", "--exec", program.to_str().unwrap()];
    let listening = scene.follow(&exec).await;
    fs::remove_file(&program).unwrap();
    push(&scene.cloud, Term::Nil).await;
    listening.ends_with(1, "program: No such file").await;
}

#[tokio::test]
async fn events_are_printed_as_text_or_json() {
    let Some(mut scene) = Scene::connected().await else { return };
    let mut text = scene.follow(&["events"]).await;
    let mut json = scene.follow(&["events", "--json"]).await;
    scene.run(&["reconnect"]).await.succeeds();
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Token));
    let (mut lines, mut events) = (Vec::new(), Vec::new());
    while lines.last().is_none_or(|line: &String| line != "connected") {
        lines.push(text.prints().await);
        let event: serde_json::Value = serde_json::from_str(&json.prints().await).unwrap();
        events.push(event["event"].as_str().unwrap().to_owned());
    }
    let names: Vec<_> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, events);
    assert!(lines.iter().any(|line| line.starts_with("connecting attempt=")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("connection_lost ")), "{lines:?}");
}

#[tokio::test]
async fn listening_continues_when_the_service_restarts() {
    let Some(scene) = Scene::connected().await else { return };
    let mut listening = scene.follow(&["listen", "--count", "1"]).await;
    let Scene { bus: _bus, mut cloud, setup, service } = scene;
    service.kill().await;
    assert!(listening.notes().await.contains("fedecksd has stopped"));
    let _service = setup.start();
    assert!(listening.notes().await.contains("fedecksd is running again"));
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    push(&cloud, Term::from("again")).await;
    assert_eq!(listening.prints().await, "\"again\"");
    listening.ends(0).await;
}
