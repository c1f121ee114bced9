//! A peer: fastwebsockets with hyper, as its examples have it.

use std::convert::Infallible;
use std::net::SocketAddr;

use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{Frame, OpCode, WebSocketError};
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::listen::serve_each;
use crate::error::Result;

pub(super) fn start() -> Result<SocketAddr> {
    serve_each(serve)
}

async fn serve(stream: TcpStream) {
    let service = service_fn(|mut request: Request<Incoming>| async move {
        match upgrade(&mut request) {
            Ok((response, socket)) => {
                tokio::spawn(echo(socket));
                Ok::<_, Infallible>(response)
            }
            Err(_) => Ok(refusal()),
        }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A failure is seen by the client.
    drop(connection.with_upgrades().await);
}

fn refusal() -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

async fn echo(socket: UpgradeFut) -> std::result::Result<(), WebSocketError> {
    // Boxed, as a task keeps the size of the most that it ever holds at once.
    let mut socket = Box::pin(socket).await?;
    // It answers pings and closes by itself.
    socket.set_auto_pong(true);
    socket.set_auto_close(true);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            // A new one, as the one that was read keeps its mask.
            OpCode::Binary => socket.write_frame(Frame::binary(frame.payload)).await?,
            OpCode::Close => return Ok(()),
            _ => {}
        }
    }
}
