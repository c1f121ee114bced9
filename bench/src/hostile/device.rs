//! A cloud that sends the device service what takes the most memory, also while nothing takes messages
//! from its bus.

use std::path::Path;
use std::time::Duration;

use fedecks_protocol::{Dialect, DownFrame, IssuedToken, Limits, Term, Token, Welcome};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::device_env::DeviceEnv;
use crate::device_service::DeviceService;
use crate::error::Result;
use crate::process::Usage;
use crate::setting::Setting;

/// What the cloud sends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attack {
    /// Lists of as many nulls as fit into the biggest frame, each of which is refused.
    Nulls,
    /// The same, with as many nulls as the device takes.
    AllowedNulls,
    /// The same, while the bus stands still.
    AllowedNullsAndNoBus,
    /// Texts of the biggest size, while the bus stands still.
    TextsAndNoBus,
}

/// How many messages the cloud sends.
const MESSAGES: usize = 64;

/// How long the service is left alone before its memory at rest is read.
const REST: Duration = Duration::from_secs(3);

/// How long the attack has an effect after everything was sent.
const SETTLE: Duration = Duration::from_secs(4);

/// How many nulls weigh about as much as the device takes by default: 4 MiB of terms.
const ALLOWED: usize = 100_000;

/// How much less than the biggest frame a message has, in bytes: its header.
const HEADER: usize = 64;

impl Attack {
    pub(super) const ALL: [Self; 4] =
        [Self::Nulls, Self::AllowedNulls, Self::AllowedNullsAndNoBus, Self::TextsAndNoBus];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nulls => "nulls",
            Self::AllowedNulls => "allowed-nulls",
            Self::AllowedNullsAndNoBus => "allowed-nulls-no-bus",
            Self::TextsAndNoBus => "texts-no-bus",
        }
    }

    fn stops_bus(self) -> bool {
        matches!(self, Self::AllowedNullsAndNoBus | Self::TextsAndNoBus)
    }

    fn frame(self) -> Result<Bytes> {
        let biggest = Limits::default().max_size - HEADER;
        let term = match self {
            Self::Nulls => return list_of_nulls(biggest),
            Self::AllowedNulls | Self::AllowedNullsAndNoBus => return list_of_nulls(ALLOWED),
            Self::TextsAndNoBus => Term::Str("x".repeat(biggest)),
        };
        encode(&DownFrame::Message { sequence: None, term })
    }
}

/// The peak of the service's resident memory above that at rest, in bytes.
pub(super) async fn run(setting: &Setting<'_>, fedecksd: &Path, attack: Attack) -> Result<u64> {
    let folder = tempfile::tempdir_in(setting.folder.path())?;
    let env = DeviceEnv::start(folder.path()).await?;
    let cloud = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", cloud.local_addr()?);
    let mut service = DeviceService::start(&env, fedecksd, folder.path(), &url, "")?;
    let frame = attack.frame()?;
    let (begin, began) = tokio::sync::oneshot::channel();
    let attacker = tokio::spawn(async move { attack_device(&cloud, frame, began).await });
    service.await_login().await?;
    sleep(REST).await;
    let usage = Usage::of(service.child.id().ok_or("the service ended at once")?)?;
    let rest = usage.memory()?.resident;
    if attack.stops_bus() {
        env.stop_bus()?;
    }
    begin.send(()).map_err(|()| "the cloud has ended")?;
    sleep(SETTLE).await;
    let peak = usage.peak_memory()?;
    attacker.abort();
    if let Some(status) = service.child.try_wait()? {
        return Err(format!("the service ended with {status}").into());
    }
    Ok(peak.saturating_sub(rest))
}

/// Accepts the device with a Welcome and a token, and attacks it once told so.
async fn attack_device(
    listener: &TcpListener,
    frame: Bytes,
    began: tokio::sync::oneshot::Receiver<()>,
) -> Result<()> {
    let (stream, _) = listener.accept().await?;
    let mut socket = greet(stream).await?;
    let _ = began.await;
    for _ in 0..MESSAGES {
        socket.send(Message::Binary(frame.clone())).await?;
    }
    while socket.next().await.is_some() {}
    Ok(())
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

#[expect(clippy::result_large_err, reason = "the signature is that of the library's callback")]
async fn greet(stream: TcpStream) -> Result<Socket> {
    let subprotocol = |_: &Request, mut response: Response| {
        let name = HeaderValue::from_static(Dialect::Bincode.subprotocol());
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, subprotocol).await?;
    let welcome = Welcome {
        server_time_ms: fedecks_cloud::store::unix_now() * 1000,
        heartbeat: Duration::from_secs(19),
        idle_timeout: Duration::from_secs(60),
        max_frame: 1024 * 1024,
        delivery: None,
    };
    socket.send(Message::Binary(encode(&DownFrame::Welcome(welcome))?)).await?;
    let token = IssuedToken { token: Token::new("hostile")?, expires_at: u64::MAX / 2 };
    socket.send(Message::Binary(encode(&DownFrame::Token(token))?)).await?;
    Ok(socket)
}

/// A message with a list of nulls. By hand, because an honest end would not encode it.
fn list_of_nulls(count: usize) -> Result<Bytes> {
    // A message without a sequence number, the tag of a list, and its length in four bytes.
    let mut frame = vec![0x01, 0, 8, 0xfc];
    frame.extend(u32::try_from(count)?.to_le_bytes());
    frame.resize(frame.len() + count, 0);
    Ok(frame.into())
}

fn encode(frame: &DownFrame) -> Result<Bytes> {
    Ok(Dialect::Bincode.encode_down(frame, &Limits::default())?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_nulls_is_a_message_that_a_device_decodes() {
        let frame = list_of_nulls(1000).unwrap();
        let decoded = Dialect::Bincode.decode_down(&frame, &Limits::default()).unwrap();
        let term = Term::List(vec![Term::Nil; 1000]);
        assert_eq!(decoded, DownFrame::Message { sequence: None, term });
    }
}
