//! The registration nonce in the logins of a client, over lost answers, restarts and logouts.

use std::path::Path;

use fedecks_protocol::{
    AUTH_HEADER, AuthRequest, Credentials, DeviceId, Dialect, DownFrame, IssuedToken,
    MAX_HEADER_CHARS, NONCE_KEY, Proof, Token, Welcome,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;

use super::*;
use crate::Client;
use crate::testing::{NOWHERE, accept, send_frame, within};

/// A cloud that a device logs in to.
struct Logins(TcpListener);

impl Logins {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    async fn client(&self, data_dir: &Path) -> Client {
        let url = format!("ws://{}", self.0.local_addr().unwrap()).parse().unwrap();
        let builder = Client::builder(url, DeviceId::new("kitchen-1").unwrap());
        let wait = Duration::from_millis(10);
        builder.backoff(wait, wait).data_dir(data_dir).start().await.unwrap().0
    }

    /// The next attempt, and the credentials in it.
    async fn next(&self) -> (Credentials, WebSocketStream<TcpStream>) {
        let (socket, request) =
            within(async { accept(self.0.accept().await.unwrap().0).await }).await;
        let header = request.headers()[AUTH_HEADER].as_bytes();
        let request = AuthRequest::from_header(header, Dialect::Bincode, MAX_HEADER_CHARS);
        let Proof::Credentials(credentials) = request.unwrap().proof else { panic!("a token") };
        (credentials, socket)
    }

    /// The nonce of the next attempt, which is answered or not.
    async fn nonce(&self, answered: bool) -> (Nonce, WebSocketStream<TcpStream>) {
        let (credentials, mut socket) = self.next().await;
        assert_eq!(credentials.text("username"), Some("marvin"));
        let nonce = Nonce::parse(credentials.text(NONCE_KEY).unwrap()).unwrap();
        if answered {
            accept_login(&mut socket).await;
        }
        (nonce, socket)
    }
}

async fn accept_login(socket: &mut WebSocketStream<TcpStream>) {
    let welcome = DownFrame::Welcome(Welcome {
        server_time_ms: 0,
        heartbeat: Duration::from_secs(300),
        idle_timeout: Duration::from_secs(600),
        max_frame: 1024 * 1024,
        delivery: None,
    });
    let token = Token::new("v4.local.abc").unwrap();
    let token = DownFrame::Token(IssuedToken { token, expires_at: 1_798_761_599 });
    for frame in [welcome, token] {
        send_frame(socket, &frame).await;
    }
}

fn marvin() -> Credentials {
    Credentials::new().with("username", "marvin")
}

/// Logs in without waiting for the answer.
fn log_in(client: &Client) -> tokio::task::JoinHandle<bool> {
    let client = client.clone();
    tokio::spawn(async move { client.login(marvin()).await.is_ok() })
}

#[tokio::test]
async fn a_repeated_login_has_the_same_nonce_until_a_logout() {
    let (cloud, folder) = (Logins::start().await, tempfile::tempdir().unwrap());
    let client = cloud.client(folder.path()).await;
    log_in(&client);
    let (first, socket) = cloud.nonce(false).await;
    assert!(folder.path().join("registration-nonce").exists(), "it is on disk before it is sent");
    // The answer is lost.
    drop(socket);
    assert_eq!(cloud.nonce(false).await.0, first);
    within(client.shutdown()).await;

    let client = cloud.client(folder.path()).await;
    let login = log_in(&client);
    let (again, _socket) = cloud.nonce(true).await;
    assert_eq!(again, first);
    assert!(within(login).await.unwrap());
    // Another login of the same device.
    let login = log_in(&client);
    let (again, _socket) = cloud.nonce(true).await;
    assert_eq!(again, first);
    assert!(within(login).await.unwrap());

    within(client.logout()).await.unwrap();
    assert!(!folder.path().join("registration-nonce").exists());
    log_in(&client);
    assert_ne!(cloud.nonce(false).await.0, first);
    within(client.shutdown()).await;
}

#[tokio::test]
async fn a_login_keeps_its_own_nonce() {
    let (cloud, folder) = (Logins::start().await, tempfile::tempdir().unwrap());
    let client = cloud.client(folder.path()).await;
    let own = marvin().with(NONCE_KEY, 7);
    let login = tokio::spawn({
        let (client, own) = (client.clone(), own.clone());
        async move { client.login(own).await }
    });
    assert_eq!(cloud.next().await.0, own);
    assert!(!folder.path().join("registration-nonce").exists());
    within(client.shutdown()).await;
    assert!(within(login).await.unwrap().is_err());
}

#[tokio::test]
async fn a_login_without_a_disk_has_a_nonce_in_memory() {
    let cloud = Logins::start().await;
    let client = cloud.client(Path::new(NOWHERE)).await;
    let mut nonces = Vec::new();
    for _ in 0..2 {
        let login = log_in(&client);
        let (nonce, _socket) = cloud.nonce(true).await;
        assert!(within(login).await.unwrap());
        nonces.push(nonce);
    }
    assert_eq!(nonces[0], nonces[1]);
    // The removal fails as that of the token does, and the nonce is another one all the same.
    assert!(within(client.logout()).await.is_err());
    log_in(&client);
    assert_ne!(cloud.nonce(false).await.0, nonces[0]);
    within(client.shutdown()).await;
}
