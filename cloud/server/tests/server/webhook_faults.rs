//! Deliveries to webhooks while the server is killed, while events are rejected, and with much that waits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fedecks_store::{QueueBudget, QueueItem, QueueStore, SqliteStore, StoreOptions};
use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::http::Http;
use fedecks_testing::wait::{until, until_every, within};
use serde_json::Value;

use crate::support::{METRICS, PROGRAM, metrics, sample};
use crate::webhooks::Receiver;

/// A value of the webhook's metrics.
async fn value(http: &Http, name: &str) -> f64 {
    sample(&metrics(http).await, &format!("fedecks_webhook_{name}{{webhook=\"crm\"}}"))
}

/// The client of the server's metrics, whose listener is the second one.
fn monitoring(server: &CloudProcess) -> Http {
    Http::to(server.addresses()[1])
}

/// What the store has kept for the webhook, as the command prints it.
async fn dead_letters(program: &CloudProgram) -> Vec<Value> {
    let printed = program.run(&["webhook", "dead-letters", "--json"], "").await;
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const DEVICES: [&str; 4] = ["hall-1", "hall-2", "kitchen-1", "kitchen-2"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again_loses_no_event() {
    const EVENTS: usize = 60;
    const KILLS: usize = 8;
    let mut receiver = Receiver::start().await;
    receiver.answer(503);
    let lines = receiver.configuration(&format!("kinds = [\"message\"]\n{METRICS}"));
    let mut server = CloudProcess::start(PROGRAM, &lines).await;
    for device in DEVICES {
        let device = server.device(device).await;
        for number in 0..EVENTS {
            device.client.send(&number).await.unwrap();
        }
        device.client.shutdown().await;
    }
    let all = (DEVICES.len() * EVENTS) as f64;
    let http = monitoring(&server);
    until(async || (value(&http, "pending").await == all).then_some(())).await;
    server.kill().await;
    receiver.forget();

    receiver.answer(204);
    let mut next: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let (mut kills, mut repeats) = (0, 0);
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    while next.values().map(|(next, _)| next).sum::<usize>() < DEVICES.len() * EVENTS {
        server.start_again().await;
        // At some moment of the first 24 deliveries; the last start delivers what is left.
        let enough = seed.rotate_left(7 * kills as u32) % 24 + 1;
        for _ in 0..if kills < KILLS { enough } else { u64::MAX } {
            let delivery = receiver.next().await;
            let (json, id) = (delivery.json(), delivery.header("webhook-id").to_owned());
            let device = json["device"].as_str().unwrap().to_owned();
            let number = json["message"].as_u64().unwrap() as usize;
            let (expected, last) = next.entry(device.clone()).or_default();
            if number + 1 == *expected {
                assert_eq!(id, *last, "{device} {number}: another id for the same event");
                repeats += 1;
            } else {
                assert_eq!(number, *expected, "{device}: out of order, or lost");
                (*expected, *last) = (number + 1, id);
            }
            if next.values().map(|(next, _)| next).sum::<usize>() == DEVICES.len() * EVENTS {
                break;
            }
        }
        if kills < KILLS {
            server.kill().await;
            kills += 1;
        }
    }
    println!("{kills} kills, {repeats} repeats");
    assert!(kills >= KILLS / 2, "all was delivered before it was killed: nothing was tested");
    if kills == KILLS {
        let http = monitoring(&server);
        until(async || (value(&http, "pending").await == 0.0).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_event_is_parked_and_its_device_continues() {
    let mut receiver = Receiver::start().await;
    let lines = receiver.configuration(&format!("kinds = [\"message\"]\n{METRICS}"));
    let server = CloudProcess::start(PROGRAM, &lines).await;
    let rejected = [("hall-1", 400), ("hall-2", 413), ("kitchen-1", 422)];
    let mut devices = Vec::new();
    let began = Instant::now();
    for (id, status) in rejected.into_iter().chain([("cellar-1", 404)]) {
        let device = server.device(id).await;
        device.client.send(&format!("answer {status}")).await.unwrap();
        device.client.send(&"after").await.unwrap();
        devices.push(device);
    }
    let other = server.device("attic-1").await;
    other.client.send(&"of another device").await.unwrap();
    let mut deliveries: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    while deliveries.values().filter(|of| of.iter().any(|(_, message)| message == "after")).count()
        < 3
    {
        let delivery = receiver.next().await;
        let (json, id) = (delivery.json(), delivery.header("webhook-id").to_owned());
        let message = json["message"].as_str().unwrap().to_owned();
        if message == "of another device" {
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        }
        let device = json["device"].as_str().unwrap().to_owned();
        deliveries.entry(device).or_default().push((id, message));
    }
    assert!(began.elapsed() >= Duration::from_secs(6), "{:?}", began.elapsed());
    let letters = dead_letters(&server.program).await;
    assert_eq!(letters.len(), rejected.len(), "{letters:?}");
    for (device, status) in rejected {
        let messages: Vec<_> = deliveries[device].iter().map(|(_, message)| &**message).collect();
        let text = format!("answer {status}");
        assert_eq!(messages, [&*text, &*text, &*text, "after"], "{device}");
        let ids: Vec<_> = deliveries[device].iter().map(|(id, _)| id).collect();
        assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{device}: {ids:?}");
        let letter = letters.iter().find(|letter| letter["device"] == device).unwrap();
        assert_eq!((&letter["webhook"], &letter["id"]), (&"crm".into(), &ids[0][..].into()));
        assert_eq!(letter["event"]["message"], text);
        let answer = letter["answer"].as_str().unwrap();
        assert!(answer.starts_with(&format!("answered {status}")), "{answer}");
    }
    assert_eq!(deliveries["attic-1"].len(), 1);
    // What concerns all events is retried, and its device waits.
    assert!(deliveries["cellar-1"].iter().all(|(_, message)| message == "answer 404"));
    let http = monitoring(&server);
    until(async || (value(&http, "parked_total").await == 3.0).then_some(())).await;
    until(async || (value(&http, "pending").await == 2.0).then_some(())).await;
    assert_eq!(value(&http, "dropped_total").await, 0.0);
    assert!(server.log().contains("rejected an event several times"), "{}", server.log());
    let printed = server.program.run(&["webhook", "dead-letters", "--webhook", "crm"], "").await;
    assert!(printed.lines().all(|line| line.contains("\tcrm\t")), "{printed}");
    let unknown = server.program.fails(&["webhook", "dead-letters", "--webhook", "x"], 1).await;
    assert!(unknown.contains("no webhook named \"x\" in the configuration"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_learns_how_many_events_were_dropped() {
    let mut receiver = Receiver::start().await;
    receiver.answer(503);
    let lines = receiver.configuration(&format!("kinds = [\"message\"]\nkeep = 2\n{METRICS}"));
    let mut server = CloudProcess::start(PROGRAM, &lines).await;
    let mut device = server.device("kitchen-1").await;
    device.client.send(&1).await.unwrap();
    let first = receiver.next().await;
    assert_eq!(first.header("fedecks-dropped-events"), "0");
    for number in 2..=5 {
        device.client.send(&number).await.unwrap();
    }
    let http = monitoring(&server);
    until(async || (value(&http, "dropped_total").await == 3.0).then_some(())).await;
    receiver.answer(204);
    while receiver.next().await.json()["message"] != 4 {}
    assert_eq!(receiver.next().await.header("fedecks-dropped-events"), "3");
    until(async || (value(&http, "pending").await == 0.0).then_some(())).await;
    server.kill().await;
    server.start_again().await;
    device.until_connected().await;
    device.client.send(&6).await.unwrap();
    let after = receiver.next().await;
    assert_eq!(
        (after.json()["message"].as_i64(), after.header("fedecks-dropped-events")),
        (Some(6), "3")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_in_a_restored_store_is_delivered_once_more() {
    let mut receiver = Receiver::start().await;
    receiver.answer(503);
    let lines = receiver.configuration(&format!("kinds = [\"message\"]\n{METRICS}"));
    let server = CloudProcess::start(PROGRAM, &lines).await;
    let http = monitoring(&server);
    let device = server.device("kitchen-1").await;
    for text in ["first", "second"] {
        device.client.send(&text).await.unwrap();
    }
    until(async || (value(&http, "pending").await == 2.0).then_some(())).await;
    server.program.run(&["backup", "copy"], "").await;
    receiver.answer(204);
    until(async || (value(&http, "pending").await == 0.0).then_some(())).await;
    // What waits now is not in the copy.
    receiver.answer(503);
    receiver.forget();
    device.client.send(&"lost with the store").await.unwrap();
    receiver.next().await;
    server.program.run(&["restore", "copy"], "").await;
    until(async || (value(&http, "pending").await == 2.0).then_some(())).await;
    receiver.answer(204);
    let mut again = Vec::new();
    while again.last().is_none_or(|last| last != "second") {
        again.push(receiver.next().await.json()["message"].as_str().unwrap().to_owned());
    }
    // Those that were refused in between are repeated.
    again.dedup();
    again.retain(|text| text != "lost with the store");
    assert_eq!(again, ["first", "second"]);
    device.client.send(&"third").await.unwrap();
    assert_eq!(receiver.next().await.json()["message"], "third");
    until(async || (value(&http, "pending").await == 0.0).then_some(())).await;
}

/// The resident memory of the server, in bytes.
fn resident(server: &CloudProcess) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_dead_webhook_is_not_in_memory() {
    const EVENTS: usize = 64_000;
    const LANES: usize = 8_000;
    const BYTES: usize = 2_000;
    const MIB: u64 = 1024 * 1024;
    let receiver = Receiver::start().await;
    receiver.answer(0);
    let lines = receiver.configuration(&format!("timeout = \"1h\"\n{METRICS}"));
    let mut server = CloudProcess::start(PROGRAM, &lines).await;
    let idle = resident(&server);
    server.kill().await;
    let store = server.program.folder.path().join("fedecks-data/fedecks.sqlite");
    let store = SqliteStore::open_beside(store, StoreOptions::default()).unwrap();
    let budget = QueueBudget { items: u64::MAX, bytes: u64::MAX };
    for batch in 0..EVENTS / 500 {
        let item = |number: usize| QueueItem {
            lane: format!("device-{}", (batch * 500 + number) % LANES),
            id: format!("5c1f0d9be0a2c5aa-{batch}-{number}"),
            body: "x".repeat(BYTES).into(),
            at: fedecks_store::unix_now(),
        };
        let items = (0..500).map(item).collect();
        store.enqueue("webhook crm", items, 0, budget, Duration::ZERO).await.unwrap();
    }
    drop(store);
    let began = Instant::now();
    within(server.start_again()).await;
    let took = began.elapsed();
    let http = monitoring(&server);
    until_every(Duration::from_millis(20), async || {
        (value(&http, "pending").await == EVENTS as f64).then_some(())
    })
    .await;
    let pending = value(&http, "pending_bytes").await as u64;
    let cost = resident(&server).saturating_sub(idle);
    println!("{} MiB wait, {} MiB of memory, start {took:?}", pending / MIB, cost / MIB);
    assert!(pending > 120 * MIB, "{pending}");
    // It would take more than twice that if only the ids were in memory.
    assert!(cost < 5 * MIB, "{} KiB", cost / 1024);
}
