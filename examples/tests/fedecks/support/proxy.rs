//! A network between a device and a cloud that can be made to fail.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the network between device and cloud does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// Bytes pass.
    Fine,
    /// Connections stay open and nothing passes: a zombie.
    Silent,
    /// Connections are cut, new ones are closed at once.
    Cut,
}

/// A network between a device and a cloud that can be made to fail.
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
}

impl Proxy {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, forecast) = watch::channel(Weather::Fine);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let forecast = forecast.clone();
                if *forecast.borrow() != Weather::Cut {
                    tokio::spawn(carry(client, target, forecast));
                }
            }
        });
        Self { address, weather }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes pass again; connections that were made silent stay so.
    pub(crate) fn fine(&self) {
        self.weather.send_replace(Weather::Fine);
    }

    /// From now on nothing passes on any connection, and none is closed.
    pub(crate) fn silent(&self) {
        self.weather.send_replace(Weather::Silent);
    }

    /// Cuts every connection and lets none through.
    pub(crate) fn cut(&self) {
        self.weather.send_replace(Weather::Cut);
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr, mut forecast: watch::Receiver<Weather>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut up, mut down) = (vec![0; 4096], vec![0; 4096]);
    let mut zombie = false;
    loop {
        match *forecast.borrow_and_update() {
            Weather::Cut => return,
            Weather::Silent => zombie = true,
            Weather::Fine => {}
        }
        tokio::select! {
            changed = forecast.changed() => if changed.is_err() { return },
            read = client.read(&mut up), if !zombie => match read {
                Ok(n) if n > 0 && server.write_all(&up[..n]).await.is_ok() => {}
                _ => return,
            },
            read = server.read(&mut down), if !zombie => match read {
                Ok(n) if n > 0 && client.write_all(&down[..n]).await.is_ok() => {}
                _ => return,
            },
        }
    }
}
