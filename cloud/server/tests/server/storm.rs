//! Devices of a killed server that reconnect all at once. `ci/bench` does it with 10,000.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fedecks_protocol::{AUTH_HEADER, REFUSAL_HEADER, Refusal};
use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::device::Device;
use fedecks_testing::raw_device::{RawDevice, SUBPROTOCOL, auth_header, fresh_token};
use fedecks_testing::wait::{until_every, within};
use futures_util::StreamExt;
use futures_util::future::{join, join_all};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;

use crate::support::PROGRAM;

/// Most devices are bare WebSockets with a token; a few are the device library with its token on
/// disk.
const BARE: usize = 400;
const REAL: usize = 5;

const BURST: usize = 205;
const PER_SECOND: usize = 200;

/// How long the accept limit delays the last of them.
const ALLOWED: Duration = Duration::from_secs(((BARE + REAL - BURST) / PER_SECOND) as u64);

/// How much more the server may need on a machine that runs other tests too.
const SLACK: Duration = Duration::from_secs(10);

#[tokio::test]
async fn all_devices_reconnect_at_the_accept_rate_with_their_tokens() {
    let limits = format!("[limits]\naccepts_per_second = {PER_SECOND}\naccept_burst = {BURST}");
    let mut server = CloudProcess::start(PROGRAM, &limits).await;
    let mut devices = Vec::new();
    for index in 0..REAL {
        devices.push(server.device(&format!("real-{index}")).await);
    }
    let tokens: Vec<_> = devices.iter().map(Device::token_on_disk).collect();
    let auth: Vec<_> = (0..BARE)
        .map(|index| format!("bare-{index:03}"))
        .map(|id| auth_header(&id, fresh_token(&id)))
        .collect();

    let (fleet, _) = all_come_back(server.address, &auth, &mut devices).await;

    server.kill().await;
    join_all(fleet.into_iter().map(lost)).await;
    for device in &mut devices {
        device.until_lost().await;
    }
    server.start_again().await;
    let (mut fleet, took) = all_come_back(server.address, &auth, &mut devices).await;
    println!("{} devices were back after {took:?}, allowed {ALLOWED:?}", BARE + REAL);

    // The token bucket may have filled a little since the server listened.
    assert!(took + Duration::from_millis(250) >= ALLOWED, "the limit did not hold: {took:?}");
    assert!(took <= ALLOWED + SLACK, "{took:?}");
    assert_eq!(devices.iter().map(Device::token_on_disk).collect::<Vec<_>>(), tokens);

    // The next storm reuses the memory of this one.
    join_all(fleet.iter_mut().map(RawDevice::ping)).await;
    let before = anonymous_memory(server.pid());
    drop(fleet);
    let (mut fleet, _) = all_come_back(server.address, &auth, &mut []).await;
    join_all(fleet.iter_mut().map(RawDevice::ping)).await;
    let after = anonymous_memory(server.pid());
    println!("heap and stacks: {before} bytes after the first storm, {after} after the second");
    assert!(after <= before + before / 4, "{before} bytes after the first storm, then {after}");
}

/// Has all devices dial at once, and returns how long it took until the last one was connected.
async fn all_come_back(
    address: SocketAddr,
    auth: &[String],
    devices: &mut [Device],
) -> (Vec<RawDevice>, Duration) {
    let start = Instant::now();
    let bare = join_all(auth.iter().map(|auth| come_back(address, auth)));
    let real = join_all(devices.iter_mut().map(|device| async {
        device.client.reconnect().await.unwrap();
        device.until_connected().await;
    }));
    let (fleet, _) = join(bare, real).await;
    (fleet, start.elapsed())
}

/// Dials until it is connected. A refusal that would cost a device its token is a failure.
async fn come_back(address: SocketAddr, auth: &str) -> RawDevice {
    // As a device waits before it tries again, and shorter.
    let connected = until_every(Duration::from_millis(200), async || {
        // If this fails, the server does not listen, or has cut the connection.
        let tcp = TcpStream::connect(address).await.ok()?;
        match RawDevice::upgrade(tcp, &[(AUTH_HEADER, auth), SUBPROTOCOL]).await {
            Ok(mut connected) => {
                connected.welcome().await;
                Some(connected)
            }
            Err(Error::Http(answer)) => {
                let reason = answer.headers().get(REFUSAL_HEADER);
                let reason = reason.and_then(|reason| reason.to_str().ok());
                let refusal = Refusal::from_response(answer.status().as_u16(), reason);
                assert_eq!(refusal, Some(Refusal::Unavailable), "{answer:?}");
                None
            }
            Err(_) => None,
        }
    });
    connected.await
}

/// Waits until the connection has ended without a close.
async fn lost(mut device: RawDevice) {
    let next = within(device.ws.next()).await;
    assert!(matches!(next, None | Some(Err(_))), "{next:?}");
}

/// Heap and stacks of the process, in bytes.
fn anonymous_memory(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
