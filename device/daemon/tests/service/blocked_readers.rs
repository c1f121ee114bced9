//! Those who read what the service writes, the log and systemd's notifications, stop reading. Nothing else stops.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use fedecks_protocol::Term;
use fedecks_testing::unread_log::UnreadLog;

use crate::support::fedecksd::{DEVICE, Setup, connected};
use crate::support::{By, Cloud, Seen, cloud, cloud_at, push, until, within};

/// How long the service runs with a reader that has stopped, and its watchdog, which systemd feeds on less.
const BLOCKED: Duration = Duration::from_secs(6);
const WATCHDOG: Duration = Duration::from_secs(3);

/// Sends messages to the device, each of which is a line of its log, until `BLOCKED` has passed.
async fn push_messages(cloud: &Cloud, began: Instant, meanwhile: &mut impl FnMut()) {
    while began.elapsed() < BLOCKED {
        for number in 0..50_i128 {
            push(cloud, Term::Int(number)).await;
        }
        meanwhile();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Until the cloud has received a health report, which the device sends every second.
async fn reports(cloud: &mut Cloud) {
    cloud.until(|seen| matches!(seen, Seen::Message(_)).then_some(())).await;
}

#[tokio::test]
async fn a_reader_of_the_log_that_stops_stops_nothing_else() {
    let mut cloud = cloud().await;
    let setup = Setup::new(cloud.address).with_credentials();
    let socket = setup.folder.path().join("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    systemd.set_nonblocking(true).unwrap();
    let setup = setup
        .line("log", "debug")
        .line("report_interval", "1s")
        .variable("NOTIFY_SOCKET", socket.to_str().unwrap())
        .variable("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    let mut log = UnreadLog::new();
    let service = setup.start_logging_to(log.stderr());
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    log.fill();

    let (began, mut fed) = (Instant::now(), Instant::now());
    let mut message = [0; 1024];
    push_messages(&cloud, began, &mut || {
        while let Ok(length) = systemd.recv(&mut message) {
            if message[..length].starts_with(b"WATCHDOG=1") {
                fed = Instant::now();
            }
        }
        assert!(fed.elapsed() < WATCHDOG, "systemd would have killed it");
    })
    .await;
    reports(&mut cloud).await;
    // It also reconnects.
    let address = cloud.address;
    cloud.stop().await;
    let mut cloud = cloud_at(address).await;
    assert_eq!(connected(&mut cloud).await, By::Token);

    let mut text = String::new();
    until(async || {
        text += &log.read();
        text.contains("log lines, since the reader of standard error did not keep up").then_some(())
    })
    .await;
    let complete = text.rfind('\n').unwrap_or_default();
    for line in text[..complete].lines().filter(|line| !line.is_empty()) {
        assert!(line.starts_with("20"), "{line:?}");
    }
    service.kill().await;
}

#[tokio::test]
async fn a_systemd_that_reads_no_notifications_stops_nothing() {
    let mut cloud = cloud().await;
    let setup = Setup::new(cloud.address).with_credentials();
    let socket = setup.folder.path().join("notify");
    // Its queue is short: the kernel's net.unix.max_dgram_qlen.
    let systemd = UnixDatagram::bind(&socket).unwrap();
    let setup = setup
        .line("report_interval", "1s")
        .variable("NOTIFY_SOCKET", socket.to_str().unwrap())
        .variable("WATCHDOG_USEC", "2000");
    let service = setup.start();
    assert_eq!(connected(&mut cloud).await, By::Credentials);
    let began = Instant::now();
    push_messages(&cloud, began, &mut || {}).await;
    while cloud.try_next().is_some() {}
    reports(&mut cloud).await;
    assert!(cloud.hub.is_connected(&DEVICE.parse().unwrap()).await.unwrap());
    drop(systemd);
    within(service.terminate()).await;
}
