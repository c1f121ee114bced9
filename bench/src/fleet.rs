//! Many clients connected to one server: connecting, pinging, echoing and closing them together.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::Keyring;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::client::{Client, Target};
use crate::error::{Error, Result};
use crate::identity::auth_header;

/// The number of clients that connect, or close, at the same time.
const AT_ONCE: usize = 16;

/// Clients that are all connected to one server.
#[derive(Default)]
pub(crate) struct Fleet(pub(crate) Vec<Client>);

impl Fleet {
    /// Connects the clients with these indices.
    pub(crate) async fn connect(
        target: &Target,
        keyring: &Keyring,
        indices: Range<usize>,
    ) -> Result<Self> {
        let target = Arc::new(target.clone());
        let mut clients = Vec::with_capacity(indices.len());
        let mut running = JoinSet::new();
        for index in indices {
            if running.len() >= AT_ONCE {
                clients.push(next(&mut running).await?);
            }
            let (target, auth) = (target.clone(), auth_header(keyring, index)?);
            running.spawn(async move { Client::connect(&target, index, &auth).await });
        }
        while !running.is_empty() {
            clients.push(next(&mut running).await?);
        }
        Ok(Self(clients))
    }

    /// Pings once on every connection, evenly in time.
    pub(crate) async fn ping(&mut self, per_second: u32) -> Result<()> {
        let mut due = interval(Duration::from_secs(1) / per_second);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut running = JoinSet::new();
        let count = self.0.len();
        for mut client in self.0.drain(..) {
            due.tick().await;
            running.spawn(async move { client.ping().await.map(|()| client) });
        }
        while self.0.len() < count {
            self.0.push(next(&mut running).await?);
        }
        Ok(())
    }

    /// Echoes `each` messages on every connection, one at a time.
    pub(crate) async fn echo(&mut self, each: usize) -> Result<()> {
        let mut running = JoinSet::new();
        let count = self.0.len();
        for mut client in self.0.drain(..) {
            running.spawn(async move {
                for _ in 0..each {
                    client.echo().await?;
                }
                Ok(client)
            });
        }
        while self.0.len() < count {
            self.0.push(next(&mut running).await?);
        }
        Ok(())
    }

    /// Waits until every connection has ended without a close.
    pub(crate) async fn lost(self) -> Result<()> {
        let mut running: JoinSet<_> = self.0.into_iter().map(Client::lost).collect();
        while let Some(lost) = running.join_next().await {
            lost??;
        }
        Ok(())
    }

    /// Closes every connection.
    pub(crate) async fn close(self) -> Result<()> {
        let mut running = JoinSet::new();
        for client in self.0 {
            if running.len() >= AT_ONCE {
                next(&mut running).await?;
            }
            running.spawn(client.close());
        }
        while !running.is_empty() {
            next(&mut running).await?;
        }
        Ok(())
    }
}

/// Connects and closes one client for each header, [`AT_ONCE`] at a time.
pub(crate) async fn come_and_go(target: &Target, headers: Vec<String>) -> Result<()> {
    let target = Arc::new(target.clone());
    let mut running = JoinSet::new();
    for (index, auth) in headers.into_iter().enumerate() {
        if running.len() >= AT_ONCE {
            next(&mut running).await?;
        }
        let target = target.clone();
        running.spawn(async move { Client::connect(&target, index, &auth).await?.close().await });
    }
    while !running.is_empty() {
        next(&mut running).await?;
    }
    Ok(())
}

async fn next<T: 'static>(running: &mut JoinSet<Result<T>>) -> Result<T> {
    running.join_next().await.ok_or_else(|| Error::from("no client is left"))??
}
