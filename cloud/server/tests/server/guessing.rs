//! Who pays for the guessing of passwords: the address that guesses, and no other.

use std::net::SocketAddr;

use fedecks_protocol::{AUTH_HEADER, Proof};
use fedecks_store::KnownLoginStore;
use fedecks_testing::device::credentials;
use fedecks_testing::raw_device::{RawDevice, Refused, SUBPROTOCOL, auth_header};
use fedecks_testing::wait::{until, within};
use fedecks_testing::{PASSWORD, USER};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::Server;

/// The clients' addresses are those that the tests report as a proxy.
const PROXY: &str = "trusted_proxies = [\"127.0.0.1\"]\n";

/// Logs in from an address; the reason of the refusal, if it is refused.
async fn login(to: SocketAddr, from: &str, password: &str) -> Result<RawDevice, String> {
    let auth = auth_header("kitchen-1", Proof::Credentials(credentials(USER, password)));
    let headers = [(AUTH_HEADER, &*auth), SUBPROTOCOL, ("x-forwarded-for", from)];
    RawDevice::dial_with(to, &headers).await.map_err(|Refused { reason, .. }| reason.unwrap())
}

#[tokio::test]
async fn one_address_does_not_lock_an_account_for_the_others() {
    let server = Server::with(PROXY).await;
    let guesses = (0..100).map(|_| login(server.address, "192.0.2.1", "wrong!!!"));
    let refusals = join_all(guesses).await;
    assert!(refusals.iter().all(Result::is_err));
    login(server.address, "192.0.2.2", PASSWORD).await.expect("a new address");
    let guesser = login(server.address, "192.0.2.1", PASSWORD).await.expect_err("the guesser");
    assert_eq!(guesser, "rate-limited");
}

#[tokio::test]
async fn a_login_that_hangs_up_counts_as_a_failure() {
    let server = Server::with("[limits]\nfailed_logins_per_address = 3\n").await;
    let auth = auth_header("kitchen-1", Proof::Credentials(credentials(USER, "wrong!!!")));
    let request = format!(
        "GET /fedecks/websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: fedecks.v1.bincode\r\n{AUTH_HEADER}: {auth}\r\n\r\n"
    );
    for _ in 0..10 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        within(stream.write_all(request.as_bytes())).await.unwrap();
    }
    until(async || {
        let refused = login(server.address, "127.0.0.1", PASSWORD).await.err()?;
        (refused == "rate-limited").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_flood_from_one_address_does_not_keep_others_out() {
    let server = Server::with(PROXY).await;
    // More than may wait, and with the right password, so that it is not slowed.
    let mut flood: FuturesUnordered<_> =
        (0..600).map(|_| login(server.address, "192.0.2.1", PASSWORD)).collect();
    while within(flood.next()).await.unwrap().is_ok() {}
    let mut other = std::pin::pin!(login(server.address, "192.0.2.2", PASSWORD));
    let other = loop {
        tokio::select! {
            done = &mut other => break done,
            _ = flood.next(), if !flood.is_empty() => {}
        }
    };
    other.expect("another address");
    assert!(flood.len() > 100, "it did not wait for the others: {}", flood.len());
}

#[tokio::test]
async fn a_known_address_is_not_slowed_after_a_restart() {
    let lines = format!("{PROXY}[limits]\nfailed_logins_per_account = 3\n");
    let server = Server::with(&lines).await;
    login(server.address, "192.0.2.200", PASSWORD).await.unwrap();
    until(async || (server.store.known_logins(1).await.unwrap().len() == 1).then_some(())).await;
    let server = server.restart(|| {}).await;
    for last in 1..=5 {
        login(server.address, &format!("192.0.2.{last}"), "wrong!!!").await.unwrap_err();
    }
    // More new addresses than are checked at once.
    let addresses: Vec<_> = (1..=20).map(|last| format!("198.51.100.{last}")).collect();
    let new = addresses.iter().map(|from| login(server.address, from, "wrong!!!"));
    let refusals: Vec<_> = join_all(new).await.into_iter().map(Result::unwrap_err).collect();
    assert!(refusals.iter().any(|reason| reason == "rate-limited"), "{refusals:?}");
    login(server.address, "192.0.2.200", PASSWORD).await.expect("the known address");
}
