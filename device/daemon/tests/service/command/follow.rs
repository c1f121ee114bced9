//! The commands that run until they are stopped: `listen` and `events`.

use std::fs;

use fedecks_protocol::{DeviceId, Term};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::fedecks::Following;
use crate::support::fedecksd::DEVICE;
use crate::support::scene::Scene;
use crate::support::{By, Cloud, Seen, until};

async fn push(cloud: &Cloud, term: Term) {
    cloud.hub.push(&DeviceId::new(DEVICE).unwrap(), term).await.unwrap();
}

async fn push_raw(cloud: &Cloud, bytes: &[u8]) {
    cloud.hub.push_raw(&DeviceId::new(DEVICE).unwrap(), bytes.to_vec()).await.unwrap();
}

fn signal(following: &Following, signal: Signal) {
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
    assert_eq!(listening.end().await, (Some(0), String::new()));
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
    let max = i128::MAX.to_string();
    let expected = serde_json::json!(
        {"name": "a\nb", "bytes": {"$bytes": "AQ=="}, "pair": [null, {"$int": max}]}
    );
    assert_eq!(line, expected);

    signal(&values, Signal::SIGINT);
    assert_eq!(values.end().await, (Some(130), String::new()));
    signal(&raw, Signal::SIGTERM);
    assert_eq!(raw.end().await, (Some(143), String::new()));
}

#[tokio::test]
async fn a_closed_standard_output_ends_it_quietly() {
    let Some(scene) = Scene::connected().await else { return };
    for arguments in [&["listen"][..], &["events"]] {
        let mut following = scene.follow(arguments).await;
        following.close();
        // Not only at the next message.
        assert_eq!(following.end().await, (Some(0), String::new()));
    }
}

#[tokio::test]
async fn a_program_reads_each_message_from_its_standard_input() {
    let Some(scene) = Scene::connected().await else { return };
    let got = scene.setup.folder.path().join("got");
    let script = format!("cat >> {0}; echo end >> {0}", got.display());
    let listening =
        scene.follow(&["listen", "--count", "3", "--exec", "sh", "-c", &script, "-x"]).await;
    for text in ["one", "two", "three"] {
        push(&scene.cloud, Term::from(text)).await;
    }
    assert_eq!(listening.end().await, (Some(0), String::new()));
    let expected = "\"one\"\nend\n\"two\"\nend\n\"three\"\nend\n";
    assert_eq!(fs::read_to_string(&got).unwrap(), expected);

    fs::remove_file(&got).unwrap();
    let raw = ["listen", "--raw", "--count", "1", "--exec", "sh", "-c", &script];
    let listening = scene.follow(&raw).await;
    push_raw(&scene.cloud, &[b'x', 0, 255]).await;
    assert_eq!(listening.end().await.0, Some(0));
    assert_eq!(fs::read(&got).unwrap(), b"x\0\xffend\n");
}

#[tokio::test]
async fn a_failing_program_is_reported_and_runs_again() {
    let Some(scene) = Scene::connected().await else { return };
    // It reads nothing of a message that is larger than a pipe's buffer.
    let listening = scene.follow(&["listen", "--count", "2", "--exec", "sh", "-c", "exit 3"]).await;
    push(&scene.cloud, Term::Bytes(vec![7; 200_000])).await;
    push(&scene.cloud, Term::Nil).await;
    let (code, said) = listening.end().await;
    assert_eq!(code, Some(1));
    assert_eq!(said.matches("fedecks: sh: exit status: 3\n").count(), 2, "{said}");
    assert!(said.ends_with("the program failed for 2 messages\n"), "{said}");

    let slow = ["--exec-timeout", "100ms", "--exec", "sleep", "600"];
    for (program, error) in [
        (&slow[..], "sleep: killed, it took longer than 0.1 s"),
        (&["--exec", "/nonexistent"], "/nonexistent: No such file"),
    ] {
        let listening = scene.follow(&[&["listen", "-n", "1"], program].concat()).await;
        push(&scene.cloud, Term::Nil).await;
        let (code, said) = listening.end().await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(error), "{said}");
    }
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
    let Scene { bus, mut cloud, setup, service } = scene;
    service.kill().await;
    assert!(listening.notes().await.contains("fedecksd went away"));
    let _service = setup.start();
    assert!(listening.notes().await.contains("fedecksd is back"));
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    push(&cloud, Term::from("again")).await;
    assert_eq!(listening.prints().await, "\"again\"");
    assert_eq!(listening.end().await, (Some(0), String::new()));
    drop(bus);
}

#[tokio::test]
async fn it_ends_with_the_bus() {
    let Some(scene) = Scene::connected().await else { return };
    let listening = scene.follow(&["listen"]).await;
    let Scene { bus, cloud: _cloud, setup: _setup, service: _service } = scene;
    drop(bus);
    let (code, said) = listening.end().await;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("no system bus"), "{said}");
}

#[tokio::test]
async fn ctrl_c_also_ends_the_program() {
    let Some(scene) = Scene::connected().await else { return };
    let file = scene.setup.folder.path().join("id");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", file.display());
    let listening = scene.follow(&["listen", "--exec", "sh", "-c", &script]).await;
    push(&scene.cloud, Term::Nil).await;
    let read = async || Some(fs::read_to_string(&file).ok()?.trim().parse().unwrap());
    let id = Pid::from_raw(until(read).await);
    signal(&listening, Signal::SIGINT);
    assert_eq!(listening.end().await.0, Some(130));
    until(async || {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // It may be a zombie without a parent that waits for it.
        (kill(id, None).is_err() || stat.contains(") Z ")).then_some(())
    })
    .await;
}
