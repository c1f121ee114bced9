//! A fleet that comes back in one moment after the server was killed. `ci/bench` does it with 10,000.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use fedecks_cloud::Keyring;
use fedecks_cloud::auth::Claims;
use fedecks_device::{DeviceId, Event};
use fedecks_protocol::{AUTH_HEADER, AuthRequest, Dialect, DownFrame, Limits, Proof, Refusal};
use futures_util::future::{join, join_all};
use futures_util::{SinkExt, StreamExt};
use http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{Device, SALT, SECRET, Server, within};

/// Most devices are a bare WebSocket with a token; a few are the client library with its token on
/// disk.
const BARE: usize = 400;
const REAL: usize = 5;

const BURST: usize = 205;
const PER_SECOND: usize = 200;

/// How long the accept limit makes the last of them wait.
const ALLOWED: Duration = Duration::from_secs(((BARE + REAL - BURST) / PER_SECOND) as u64);

/// What the server may need beyond that, on a machine that runs other tests too.
const SLACK: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_fleet_comes_back_at_the_accept_limits_pace_with_its_tokens() {
    let limits = format!("[limits]\naccepts_per_second = {PER_SECOND}\naccept_burst = {BURST}");
    let mut server = Server::with(&limits).await;
    let mut devices = Vec::new();
    for index in 0..REAL {
        devices.push(server.connected_device(&format!("real-{index}")).await);
    }
    let tokens: Vec<_> = devices.iter().map(Device::token_on_disk).collect();
    let auth: Vec<_> = (0..BARE).map(auth_header).collect();

    let (fleet, _) = all_come_back(server.address, &auth, &mut devices).await;

    server.kill().await;
    join_all(fleet.into_iter().map(lost)).await;
    for device in &mut devices {
        device.until(|event| matches!(event, Event::ConnectionLost { .. })).await;
    }
    server.start_again().await;
    let (mut fleet, took) = all_come_back(server.address, &auth, &mut devices).await;
    println!("{} devices were back after {took:?}, allowed {ALLOWED:?}", BARE + REAL);

    // The bucket may have filled up by a little since the server listened.
    assert!(took + Duration::from_millis(250) >= ALLOWED, "the limit did not hold: {took:?}");
    assert!(took <= ALLOWED + SLACK, "{took:?}");
    assert_eq!(devices.iter().map(Device::token_on_disk).collect::<Vec<_>>(), tokens);

    // What each storm takes is there for the next one.
    join_all(fleet.iter_mut().map(answers)).await;
    let before = anonymous_memory(server.pid());
    drop(fleet);
    let (mut fleet, _) = all_come_back(server.address, &auth, &mut []).await;
    join_all(fleet.iter_mut().map(answers)).await;
    let after = anonymous_memory(server.pid());
    println!("heap and stacks: {before} bytes after the first storm, {after} after the second");
    assert!(after <= before + before / 4, "{before} bytes after the first storm, then {after}");
}

type Bare = WebSocketStream<TcpStream>;

/// Has all devices dial at once, and says how long it took until the last one was connected.
async fn all_come_back(
    address: SocketAddr,
    auth: &[String],
    devices: &mut [Device],
) -> (Vec<Bare>, Duration) {
    let start = Instant::now();
    let bare = join_all(auth.iter().map(|auth| come_back(address, auth)));
    let real = join_all(devices.iter_mut().map(|device| async {
        device.client.reconnect().await.unwrap();
        device.until(|event| *event == Event::Connected).await;
    }));
    let (fleet, _) = join(bare, real).await;
    (fleet, start.elapsed())
}

/// The value of `x-fedecks-auth` with a token that was issued right now.
fn auth_header(index: usize) -> String {
    let device = DeviceId::new(format!("bare-{index:03}")).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims =
        Claims { device: device.clone(), issued_at: now, expires_at: now + 3600, generation: 0 };
    let keyring = Keyring::new(SECRET, SALT).unwrap();
    let proof = Proof::Token(keyring.seal(&claims).token);
    AuthRequest { device_id: device, proof }.to_header(Dialect::Bincode).unwrap()
}

/// Dials until it is connected. A refusal that would cost a device its token is a failure.
async fn come_back(address: SocketAddr, auth: &str) -> Bare {
    let attempts = async {
        loop {
            match dial(address, auth).await {
                Ok(connected) => return connected,
                Err(Error::Http(answer)) => {
                    let reason = answer.headers().get("x-fedecks-refusal");
                    let reason = reason.and_then(|reason| reason.to_str().ok());
                    let refusal = Refusal::from_response(answer.status().as_u16(), reason);
                    assert_eq!(refusal, Some(Refusal::Unavailable), "{answer:?}");
                }
                // Nobody listens, or the connection was cut off.
                Err(_) => {}
            }
            // As a device waits before it tries again, and shorter.
            sleep(Duration::from_millis(200)).await;
        }
    };
    within(attempts).await
}

async fn dial(address: SocketAddr, auth: &str) -> Result<Bare, Error> {
    let tcp = TcpStream::connect(address).await?;
    let mut request = format!("ws://{address}/fedecks/websocket").into_client_request()?;
    let dialect = Dialect::Bincode.subprotocol();
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, dialect.parse().unwrap());
    request.headers_mut().insert(AUTH_HEADER, auth.parse().unwrap());
    let (mut socket, _) = client_async(request, tcp).await?;
    let first = socket.next().await.ok_or(Error::ConnectionClosed)??.into_data();
    let welcome = Dialect::Bincode.decode_down(&first, &Limits::default()).unwrap();
    assert!(matches!(welcome, DownFrame::Welcome(_)), "{welcome:?}");
    Ok(socket)
}

/// Waits until the connection has ended without a close.
async fn lost(mut socket: Bare) {
    let next = within(socket.next()).await;
    assert!(matches!(next, None | Some(Err(_))), "{next:?}");
}

/// The session is alive: it answers a ping.
async fn answers(socket: &mut Bare) {
    socket.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
    let answer = within(socket.next()).await.unwrap().unwrap();
    assert_eq!(answer, Message::Pong(Bytes::from_static(b"?")));
}

/// Heap and stacks of the process, in bytes.
fn anonymous_memory(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
