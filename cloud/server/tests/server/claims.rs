//! Claims as boards use them: many at once while the server is killed, boards that wait for an approval, boards that
//! come back without their token.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fedecks_protocol::{
    AUTH_HEADER, Credentials, DEFAULT_PATH, Dialect, DownFrame, Limits, Proof, REFUSAL_HEADER,
    Token,
};
use fedecks_store::Role;
use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::raw_device::{RawDevice, Refused, SUBPROTOCOL, auth_header};
use fedecks_testing::wait::{until, within};
use futures_util::StreamExt;
use futures_util::future::{join, join_all};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;

use crate::support::{PROGRAM, Server};

const BOARDS: usize = 1200;
const USES: usize = 1000;

/// At how many registered boards the server is killed.
const KILLS: [usize; 3] = [200, 500, 800];

fn by_claim(secret: &str, nonce: &str) -> Proof {
    Proof::Credentials(Credentials::new().with("claim", secret).with("nonce", nonce))
}

fn new_nonce() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The token after the Welcome.
async fn token(device: &mut RawDevice) -> Token {
    device.welcome().await;
    let frame = device.frame().await;
    let DownFrame::Token(issued) = frame else { panic!("expected a token: {frame:?}") };
    issued.token
}

/// A board that registers, and tries again with the same nonce until it has a token or the claim is used up. Returns
/// the token. Every third one is cut off before it gets its first answer.
async fn register(
    address: SocketAddr,
    secret: &str,
    number: usize,
    registered: &AtomicUsize,
) -> Option<Token> {
    let header = auth_header(&format!("board-{number:04}"), by_claim(secret, &new_nonce()));
    let mut is_cut = number % 3 == 0;
    loop {
        if is_cut {
            is_cut = !cut_off(address, &header).await;
        } else if let Some(outcome) = attempt(address, &header).await {
            registered.fetch_add(usize::from(outcome.is_some()), Ordering::Relaxed);
            return outcome;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sends the login and loses the connection before the answer. Returns whether it was sent.
async fn cut_off(address: SocketAddr, header: &str) -> bool {
    let request = format!(
        "GET {DEFAULT_PATH} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}: {}\r\n{AUTH_HEADER}: \
         {header}\r\n\r\n",
        SUBPROTOCOL.0, SUBPROTOCOL.1
    );
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    let sent = stream.write_all(request.as_bytes()).await.is_ok();
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..100))).await;
    sent
}

/// The outcome, unless the server was killed or has to be asked again.
async fn attempt(address: SocketAddr, header: &str) -> Option<Option<Token>> {
    let stream = TcpStream::connect(address).await.ok()?;
    match RawDevice::upgrade(stream, &[(AUTH_HEADER, header), SUBPROTOCOL]).await {
        Ok(device) => Some(Some(first_token(device).await?)),
        Err(Error::Http(answer)) => {
            let reason =
                answer.headers().get(REFUSAL_HEADER).map(|reason| reason.to_str().unwrap());
            match reason {
                Some("claim-used-up") => Some(None),
                Some("unavailable") => None,
                reason => panic!("{}: {reason:?}", answer.status()),
            }
        }
        Err(_) => None,
    }
}

/// The token, unless the server is killed before it has arrived.
async fn first_token(device: RawDevice) -> Option<Token> {
    let mut ws = device.ws;
    loop {
        let message = within(ws.next()).await?.ok()?;
        let frame = Dialect::Bincode.decode_down(&message.into_data(), &Limits::default());
        if let Ok(DownFrame::Token(issued)) = frame {
            return Some(issued.token);
        }
    }
}

#[tokio::test]
async fn a_claim_for_1000_registers_1000_of_1200_boards() {
    let mut server = CloudProcess::start(PROGRAM, "").await;
    let options = ["--devices", "board-*", "--uses", &USES.to_string(), "--json"];
    let added = server.program.run(&[&["claim", "add"], &options[..]].concat(), "").await;
    let claim: Value = serde_json::from_str(&added).unwrap();
    let [id, secret] = ["id", "secret"].map(|member| claim[member].as_str().unwrap().to_owned());
    let (address, registered) = (server.address, AtomicUsize::new(0));

    let boards = (0..BOARDS).map(|number| register(address, &secret, number, &registered));
    let kills = async {
        for at in KILLS {
            until(async || (registered.load(Ordering::Relaxed) >= at).then_some(())).await;
            server.kill().await;
            server.start_again().await;
        }
    };
    let (outcomes, ()) = join(join_all(boards), kills).await;

    let tokens: Vec<_> = outcomes.iter().enumerate().filter(|(_, token)| token.is_some()).collect();
    assert_eq!(tokens.len(), USES);
    let shown = server.program.run(&["claim", "show", &id, "--json"], "").await;
    let claim: Value = serde_json::from_str(shown.lines().next().unwrap()).unwrap();
    assert_eq!((&claim["used"], &claim["state"]), (&USES.into(), &"used-up".into()));
    let uses = server.program.run(&["claim", "export", "--uses"], "").await;
    let mut devices: Vec<_> = uses.lines().skip(1).map(|line| line.split(',').nth(1)).collect();
    devices.sort_unstable();
    let expected: Vec<_> = tokens.iter().map(|(number, _)| format!("board-{number:04}")).collect();
    assert_eq!(devices, expected.iter().map(|id| Some(id.as_str())).collect::<Vec<_>>());
    // What they got is good.
    for (number, token) in tokens.into_iter().step_by(100) {
        let proof = Proof::Token(token.clone().unwrap());
        RawDevice::dial(address, &format!("board-{number:04}"), proof).await.unwrap();
    }
}

/// A new claim of a server: its id and its secret.
async fn make(server: &Server, order: Value) -> (String, String) {
    let http = server.http_as(&[Role::Admin]).await.json();
    let answer = http.post("/api/v1/claims", order.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let claim = &answer.json()["claims"][0];
    let text = |member: &str| claim[member].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

async fn refused(server: &Server, id: &str, proof: Proof) -> Refused {
    RawDevice::dial(server.address, id, proof).await.unwrap_err()
}

fn reason(refused: &Refused) -> (u16, &str) {
    (refused.status, refused.reason.as_deref().unwrap_or_default())
}

#[tokio::test]
async fn a_board_waits_until_an_operator_approves_it() {
    let server = Server::start().await;
    let http = server.http_as(Role::ALL).await;
    let (id, secret) = make(&server, json!({ "devices": "*", "approval": true })).await;
    let mut events = http.events("/api/v1/events?device=board-1").await;
    let nonce = new_nonce();
    let pending = refused(&server, "board-1", by_claim(&secret, &nonce)).await;
    assert_eq!(reason(&pending), (503, "approval-pending"));
    assert!(pending.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    let event = events.next().await;
    assert_eq!((&event["kind"], &event["reason"]), (&"refused".into(), &"approval-pending".into()));
    assert_eq!(event["by"], format!("claim:{id}"));
    let waiting = http.get("/api/v1/approvals").await.json();
    assert_eq!(waiting["approvals"][0]["device"], "board-1");
    let approved = http.post("/api/v1/approvals/board-1", "").await;
    assert_eq!(approved.status, StatusCode::NO_CONTENT);
    // Another board does not profit from it.
    let other = refused(&server, "board-1", by_claim(&secret, &new_nonce())).await;
    assert_eq!(reason(&other), (503, "approval-pending"));
    assert_eq!(events.next().await["kind"], "refused");
    let mut board =
        RawDevice::dial(server.address, "board-1", by_claim(&secret, &nonce)).await.unwrap();
    token(&mut board).await;
    let event = events.next().await;
    assert_eq!((&event["kind"], &event["address"]), (&"registered".into(), &"127.0.0.1".into()));
    assert_eq!(event["by"], format!("claim:{id}"));
    assert_eq!(events.next().await["kind"], "connected");
    let device = until(async || {
        let device = http.get("/api/v1/devices/board-1").await.json();
        device["registration"].is_object().then_some(device)
    })
    .await;
    assert_eq!(device["registration"]["by"], format!("claim:{id}"));
}

#[tokio::test]
async fn a_wiped_board_comes_back_by_the_claim_for_its_id() {
    let server = Server::start().await;
    let http = server.http_as(Role::ALL).await;
    let (id, secret) = make(&server, json!({ "devices": "board-1" })).await;
    let address = server.address;
    let dial = async || RawDevice::dial(address, "board-1", by_claim(&secret, &new_nonce())).await;
    let mut board = dial().await.unwrap();
    let first = token(&mut board).await;
    assert_eq!(reason(&dial().await.unwrap_err()), (503, "in-use"));
    let mismatch = refused(&server, "board-2", by_claim(&secret, &new_nonce())).await;
    assert_eq!(reason(&mismatch), (401, "claim-mismatch"));
    let mut events = http.events("/api/v1/events?kind=returned").await;
    drop(board);
    let mut board = until(async || dial().await.ok()).await;
    let second = token(&mut board).await;
    let event = events.next().await;
    assert_eq!(
        (&event["by"], &event["device"]),
        (&format!("claim:{id}").into(), &"board-1".into())
    );
    let revoked = refused(&server, "board-1", Proof::Token(first)).await;
    assert_eq!(reason(&revoked), (401, "token-revoked"));
    RawDevice::dial(address, "board-1", Proof::Token(second)).await.unwrap();
    let claim = http.get(&format!("/api/v1/claims/{id}")).await.json();
    assert_eq!((&claim["used"], &claim["returned"]), (&1.into(), &1.into()));
    let revoked = http.ask(Method::DELETE, &format!("/api/v1/claims/{id}"), "").await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    assert_eq!(reason(&dial().await.unwrap_err()), (401, "claim-revoked"));
}
