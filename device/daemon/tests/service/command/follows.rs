use std::fs;
use std::time::Duration;

use fedecks_protocol::{DeviceId, Term};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::desk::{Desk, Following};
use crate::support::cloud::{By, Cloud, Seen};
use crate::support::fedecksd::DEVICE;
use crate::support::within;

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
async fn messages_come_in_their_order_and_the_count_ends_it() {
    let Some(desk) = Desk::connected().await else { return };
    let mut listening = desk.follow(&["listen", "--count", "200"]).await;
    // No more at once than the service keeps for its callers.
    for first in (0..200).step_by(40) {
        for number in first..first + 40 {
            push(&desk.cloud, Term::Int(number)).await;
        }
        for number in first..first + 40 {
            assert_eq!(listening.prints().await, number.to_string());
        }
    }
    assert_eq!(listening.end().await, (Some(0), String::new()));
}

#[tokio::test]
async fn values_and_raw_messages_are_lines_of_json() {
    let Some(desk) = Desk::connected().await else { return };
    let mut values = desk.follow(&["listen"]).await;
    let mut raw = desk.follow(&["listen", "--raw"]).await;
    push_raw(&desk.cloud, &[0, 255]).await;
    let term = Term::Map(vec![
        (Term::from("name"), Term::from("a\nb")),
        (Term::from("bytes"), Term::Bytes(vec![1])),
        (Term::from("pair"), Term::Tuple(vec![Term::Nil, Term::Int(i128::MAX)])),
    ]);
    push(&desk.cloud, term).await;
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
async fn a_reader_that_has_enough_ends_it_quietly() {
    let Some(desk) = Desk::connected().await else { return };
    for arguments in [&["listen"][..], &["events"]] {
        let mut following = desk.follow(arguments).await;
        following.close();
        // Without another message.
        assert_eq!(following.end().await, (Some(0), String::new()));
    }
}

#[tokio::test]
async fn a_program_gets_each_message_on_its_standard_input_one_after_the_other() {
    let Some(desk) = Desk::connected().await else { return };
    let got = desk.setup.folder.path().join("got");
    let script = format!("cat >> {0}; echo end >> {0}", got.display());
    let listening =
        desk.follow(&["listen", "--count", "3", "--exec", "sh", "-c", &script, "-x"]).await;
    for text in ["one", "two", "three"] {
        push(&desk.cloud, Term::from(text)).await;
    }
    assert_eq!(listening.end().await, (Some(0), String::new()));
    let expected = "\"one\"\nend\n\"two\"\nend\n\"three\"\nend\n";
    assert_eq!(fs::read_to_string(&got).unwrap(), expected);

    fs::remove_file(&got).unwrap();
    let raw = ["listen", "--raw", "--count", "1", "--exec", "sh", "-c", &script];
    let listening = desk.follow(&raw).await;
    push_raw(&desk.cloud, &[b'x', 0, 255]).await;
    assert_eq!(listening.end().await.0, Some(0));
    assert_eq!(fs::read(&got).unwrap(), b"x\0\xffend\n");
}

#[tokio::test]
async fn a_program_that_fails_is_told_and_the_next_message_gets_its_own() {
    let Some(desk) = Desk::connected().await else { return };
    // It reads nothing of what is more than a pipe holds.
    let listening = desk.follow(&["listen", "--count", "2", "--exec", "sh", "-c", "exit 3"]).await;
    push(&desk.cloud, Term::Bytes(vec![7; 200_000])).await;
    push(&desk.cloud, Term::Nil).await;
    let (code, said) = listening.end().await;
    assert_eq!(code, Some(1));
    assert_eq!(said.matches("fedecks: sh: exit status: 3\n").count(), 2, "{said}");
    assert!(said.ends_with("the program failed for 2 messages\n"), "{said}");

    let slow = ["listen", "-n", "1", "--exec-timeout", "100ms", "--exec", "sleep", "600"];
    let listening = desk.follow(&slow).await;
    push(&desk.cloud, Term::Nil).await;
    let (code, said) = listening.end().await;
    assert_eq!(code, Some(1));
    assert!(said.contains("sleep: killed after 0.1 s"), "{said}");

    let listening = desk.follow(&["listen", "-n", "1", "--exec", "/nonexistent"]).await;
    push(&desk.cloud, Term::Nil).await;
    let (code, said) = listening.end().await;
    assert_eq!(code, Some(1));
    assert!(said.contains("/nonexistent: No such file"), "{said}");
}

#[tokio::test]
async fn events_are_lines_for_people_or_json() {
    let Some(mut desk) = Desk::connected().await else { return };
    let mut text = desk.follow(&["events"]).await;
    let mut json = desk.follow(&["events", "--json"]).await;
    desk.run(&["reconnect"]).await.is(0);
    assert_eq!(desk.cloud.next().await, Seen::Connected(By::Token));
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
async fn listening_goes_on_when_the_service_starts_anew() {
    let Some(desk) = Desk::connected().await else { return };
    let mut listening = desk.follow(&["listen", "--count", "1"]).await;
    let Desk { bus, mut cloud, setup, service } = desk;
    service.kill().await;
    assert!(listening.notes().await.contains("fedecksd has stopped"));
    let _service = setup.start();
    assert!(listening.notes().await.contains("fedecksd is running again"));
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    push(&cloud, Term::from("again")).await;
    assert_eq!(listening.prints().await, "\"again\"");
    assert_eq!(listening.end().await, (Some(0), String::new()));
    drop(bus);
}

#[tokio::test]
async fn the_end_of_the_bus_ends_it() {
    let Some(desk) = Desk::connected().await else { return };
    let listening = desk.follow(&["listen"]).await;
    let Desk { bus, cloud: _cloud, setup: _setup, service: _service } = desk;
    drop(bus);
    let (code, said) = listening.end().await;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("no system bus"), "{said}");
}

#[tokio::test]
async fn ctrl_c_ends_the_program_too() {
    let Some(desk) = Desk::connected().await else { return };
    let file = desk.setup.folder.path().join("id");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", file.display());
    let listening = desk.follow(&["listen", "--exec", "sh", "-c", &script]).await;
    push(&desk.cloud, Term::Nil).await;
    let id = within(async {
        loop {
            if let Ok(id) = fs::read_to_string(&file) {
                return Pid::from_raw(id.trim().parse().unwrap());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    signal(&listening, Signal::SIGINT);
    assert_eq!(listening.end().await.0, Some(130));
    let gone = async {
        while kill(id, None).is_ok() {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // Nobody may have fetched its exit status.
            if stat.contains(") Z ") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(gone).await;
}
