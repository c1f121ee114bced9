//! The receiver of a webhook: it accepts every event, and enters those of messages in the history.

use std::rc::Rc;

use fedecks_testing::fleet_history::FleetEntry;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::application::listed_message;
use crate::world::World;

/// What deliveries are signed with.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Receives until it is dropped.
pub(crate) async fn receives(listener: TcpListener, world: Rc<World>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let world = Rc::clone(&world);
        connections.spawn_local(async move { serve(stream, &world).await });
        while connections.try_join_next().is_some() {}
    }
}

/// Answers the requests of a connection; `None` at its end.
async fn serve(stream: TcpStream, world: &World) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut length, mut id) = (0, String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().ok()?;
            } else if let Some(value) = line.strip_prefix("webhook-id: ") {
                value.clone_into(&mut id);
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let event: Value = serde_json::from_slice(&body).unwrap_or_default();
        if let Some((device, message)) = listed_message(&event, world) {
            let device = device.number;
            world.history.add(FleetEntry::Delivered { device, message, id });
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok()?;
    }
}
