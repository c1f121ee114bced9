//! Kept messages for many devices at once, and the credit of each.

use std::time::{Duration, Instant};

use fedecks_cloud::Options;
use fedecks_cloud::messaging::KeepDown;
use fedecks_protocol::{Ack, Capabilities, DeliveryFrame, DownFrame, Lane, UpFrame};
use fedecks_testing::cloud::CloudOptions;
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::within;

use crate::down::{
    Cloud, Recorder, ack, connect, delivery, kept, nothing_arrives, resume, send_ack, start,
};
use crate::slow_readers::connect_narrow;
use crate::support::id;

async fn send_raw(cloud: &Cloud, name: &str, bytes: usize) {
    cloud.hub.send_kept_raw(&id(name), vec![7; bytes], KeepDown::default()).await.unwrap();
}

/// Takes this many messages in order, and acknowledges them by 16 with as much credit as possible. Returns when.
async fn drain(device: &mut RawDevice, count: u64) -> Instant {
    let announced = resume(device).await;
    let credit = |up_to| Ack {
        credit_to: up_to + 64,
        credit_bytes: 256 * 1024,
        ..ack(announced.handle, up_to, 0)
    };
    send_ack(device, credit(0)).await;
    for sequence in 1..=count {
        let kept = kept(device).await;
        assert_eq!((kept.sequence, kept.redelivered), (sequence, false));
        if sequence % 16 == 0 || sequence == count {
            send_ack(device, credit(sequence)).await;
        }
    }
    Instant::now()
}

#[tokio::test]
async fn credit_bounds_what_is_sent_in_messages_and_bytes() {
    let cloud = start().await;
    for _ in 0..20 {
        send_raw(&cloud, "a", 10).await;
    }
    let mut device = connect(&cloud, "a").await;
    resume(&mut device).await;
    send_ack(&mut device, ack(1, 0, 0)).await;
    for sequence in 1..=8 {
        assert_eq!(kept(&mut device).await.sequence, sequence);
    }
    nothing_arrives(&mut device).await;
    send_ack(&mut device, ack(1, 4, 0)).await;
    for sequence in 9..=12 {
        assert_eq!(kept(&mut device).await.sequence, sequence);
    }
    nothing_arrives(&mut device).await;

    for size in [10_000, 10_000, 10_000, 10_000, 100_000, 10] {
        send_raw(&cloud, "b", size).await;
    }
    let mut device = connect(&cloud, "b").await;
    resume(&mut device).await;
    let credit = |up_to| Ack { credit_to: 60, ..ack(1, up_to, 0) };
    send_ack(&mut device, credit(0)).await;
    for sequence in 1..=3 {
        assert_eq!(kept(&mut device).await.sequence, sequence);
    }
    nothing_arrives(&mut device).await;
    send_ack(&mut device, credit(1)).await;
    assert_eq!(kept(&mut device).await.sequence, 4);
    // The next one exceeds the credit, and is sent alone.
    send_ack(&mut device, credit(3)).await;
    nothing_arrives(&mut device).await;
    send_ack(&mut device, credit(4)).await;
    assert_eq!(kept(&mut device).await.sequence, 5);
    nothing_arrives(&mut device).await;
    send_ack(&mut device, credit(5)).await;
    assert_eq!(kept(&mut device).await.sequence, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_drains_in_bounded_memory_and_an_urgent_one_passes() {
    const ROOM: usize = 2 * 1024 * 1024;
    // More of them, up to half as many as a process may open files, by hand.
    let devices = std::env::var("FEDECKS_FLEET").map_or(1000, |it| it.parse::<usize>().unwrap());
    let messages = (20_000 / devices as u64).max(2);
    let options = Options::default().with(|it| {
        it.max_frame = 64 * 1024;
        it.queued_bytes = ROOM;
    });
    let cloud = CloudOptions { options, ..CloudOptions::default() }.start(Recorder).await;
    let names: Vec<_> = (0..devices).map(|number| format!("d{number}")).collect();
    for name in &names {
        for _ in 0..messages {
            send_raw(&cloud, name, 2000).await;
        }
    }
    let mut calm = connect(&cloud, "calm").await;
    let started = Instant::now();
    let fleet = names.iter().map(|name| {
        let (address, name) = (cloud.address, name.clone());
        tokio::spawn(async move {
            let mut device = RawDevice::connect(address, &name).await;
            device.send(&UpFrame::Hello(Capabilities::KEPT_MESSAGES)).await;
            drain(&mut device, messages).await
        })
    });
    let fleet: Vec<_> = fleet.collect();
    let hub = cloud.hub.clone();
    let observer = tokio::spawn(async move {
        let mut most = 0;
        loop {
            let stats = hub.stats();
            most = most.max(stats.queued_bytes_held);
            if stats.kept_delivered >= devices as u64 * messages {
                return most;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let urgent = KeepDown::default().with(|it| it.lane = Lane::Urgent);
    let sent = Instant::now();
    cloud.hub.send_kept(&id("calm"), "alarm", urgent).await.unwrap();
    let announced = resume(&mut calm).await;
    send_ack(&mut calm, ack(announced.handle, 0, 0)).await;
    assert_eq!(kept(&mut calm).await.sequence, 1);
    let urgent_took = sent.elapsed();
    for device in fleet {
        within(device).await.unwrap();
    }
    let most = within(observer).await.unwrap();
    let took = started.elapsed();
    println!("{devices} devices: {took:?}, at most {most} bytes, urgent after {urgent_took:?}");
    assert!(most <= ROOM as u64, "{most}");
    // The machine may be busy with other tests.
    assert!(urgent_took < Duration::from_secs(1).max(took / 2), "{urgent_took:?} of {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_messages_drain_by_credit() {
    const DEVICES: usize = 50;
    let cloud = start().await;
    let names: Vec<_> = (0..DEVICES).map(|number| format!("d{number}")).collect();
    let started = Instant::now();
    for name in &names {
        for _ in 0..1000 {
            send_raw(&cloud, name, 100).await;
        }
    }
    println!("queued after {:?}", started.elapsed());
    let started = Instant::now();
    let mut tasks = Vec::new();
    for name in &names {
        let mut device = connect(&cloud, name).await;
        tasks.push(tokio::spawn(async move { drain(&mut device, 1000).await }));
    }
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(120), task).await.unwrap().unwrap();
    }
    println!("50,000 messages after {:?}", started.elapsed());
    assert_eq!(cloud.hub.stats().kept_sent, 50_000);
}

#[tokio::test]
async fn pings_are_answered_while_a_backlog_drains() {
    let cloud = start().await;
    for _ in 0..40 {
        send_raw(&cloud, "a", 20_000).await;
    }
    let mut device = connect(&cloud, "a").await;
    resume(&mut device).await;
    send_ack(&mut device, Ack { credit_to: 64, credit_bytes: 256 * 1024, ..ack(1, 0, 0) }).await;
    device.send(&UpFrame::KeepAlive(5)).await;
    let mut before = 0;
    loop {
        match device.frame().await {
            DownFrame::Alive(5) => break,
            DownFrame::Delivery(DeliveryFrame::Kept(_)) => before += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(before <= 13, "{before}");
    while before < 13 {
        assert!(matches!(delivery(&mut device).await, DeliveryFrame::Kept(_)));
        before += 1;
    }
    nothing_arrives(&mut device).await;
}

#[tokio::test]
async fn devices_that_do_not_read_take_a_bounded_part_of_the_memory() {
    const ROOM: usize = 8 * 1024 * 1024;
    let options = Options::default().with(|it| it.queued_bytes = ROOM);
    let cloud = CloudOptions { options, ..CloudOptions::default() }.start(Recorder).await;
    let mut devices = Vec::new();
    for number in 0..60 {
        let name = format!("d{number}");
        // More than the kernel takes for a device that does not read.
        send_raw(&cloud, &name, 900_000).await;
        let mut device = connect_narrow(cloud.address, &name).await;
        device.send(&UpFrame::Hello(Capabilities::KEPT_MESSAGES)).await;
        resume(&mut device).await;
        let credit = Ack { credit_to: 64, credit_bytes: 256 * 1024, ..ack(1, 0, 0) };
        send_ack(&mut device, credit).await;
        devices.push(device);
    }
    let mut most = 0;
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        most = most.max(cloud.hub.stats().queued_bytes_held);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("at most {most} bytes");
    // The rest of some messages waits for its device; the others are still in the store.
    assert!((ROOM as u64 / 4..=2 * ROOM as u64).contains(&most), "{most}");
    let urgent = KeepDown::default().with(|it| it.lane = Lane::Urgent);
    let mut calm = connect(&cloud, "calm").await;
    let sent = Instant::now();
    cloud.hub.send_kept(&id("calm"), "alarm", urgent).await.unwrap();
    let announced = resume(&mut calm).await;
    send_ack(&mut calm, ack(announced.handle, 0, 0)).await;
    assert_eq!(kept(&mut calm).await.sequence, 1);
    assert!(sent.elapsed() < Duration::from_secs(5), "{:?}", sent.elapsed());
    drop(devices);
}
