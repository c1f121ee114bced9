//! What is measured while the fleet takes its messages: urgent messages, pings, and the memory of the server.

use std::time::Duration;

use fedecks_testing::http::Http;
use http::StatusCode;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::identity::device_id;
use crate::receiver::Receiver;
use crate::waiting::WaitingCloud;

/// How often an urgent message is sent, if the one before has arrived.
const URGENT: Duration = Duration::from_millis(100);

/// How often one of the devices pings.
const PING: Duration = Duration::from_millis(50);

/// How often the memory is read.
const SAMPLE: Duration = Duration::from_millis(50);

/// Urgent messages for one device by the HTTP API.
pub(super) struct Urgent {
    receiver: Receiver,
    api: Http,
    path: String,
    /// From before the request until the device has the message, in seconds.
    took: Vec<f64>,
    /// When the one was sent that has not arrived.
    sent: Option<Instant>,
}

impl Urgent {
    /// For the `index`th device, whose connection this is.
    pub(super) async fn open(client: Client, api: Http, index: usize) -> Result<Self> {
        let path = format!("/api/v1/devices/{}/messages?keep=true&lane=urgent", device_id(index)?);
        let receiver = Receiver::open(client).await?;
        Ok(Self { receiver, api, path, took: Vec::new(), sent: None })
    }

    /// Sends one, and waits until it has arrived.
    pub(super) async fn one(&mut self) -> Result<()> {
        let sent = *self.sent.insert(Instant::now());
        let accepted = async {
            let answer = self.api.post(&self.path, "\"stop\"").await;
            if answer.status == StatusCode::ACCEPTED {
                return Ok(());
            }
            Err::<_, Error>(format!("{}: {}", answer.status, answer.text()).into())
        };
        let ((), (at, _)) = tokio::try_join!(accepted, self.receiver.take(1))?;
        self.took.push((at - sent).as_secs_f64());
        self.sent = None;
        Ok(())
    }

    /// Sends them until one fails.
    pub(super) async fn run(&mut self) -> Error {
        let mut due = ticks(URGENT);
        loop {
            due.tick().await;
            if let Err(error) = self.one().await {
                return error;
            }
        }
    }

    /// The longest of the times until now, which do not count any more.
    pub(super) fn take_worst(&mut self) -> f64 {
        std::mem::take(&mut self.took).into_iter().fold(f64::NAN, f64::max)
    }

    /// How many have arrived.
    pub(super) fn arrived(&self) -> usize {
        self.took.len()
    }

    /// With the time that one has waited so far, if it has not arrived.
    pub(super) fn sorted(mut self) -> Vec<f64> {
        self.took.extend(self.sent.map(|sent| sent.elapsed().as_secs_f64()));
        sorted(self.took)
    }
}

/// Devices that ping in turn.
pub(super) struct Pings {
    clients: Vec<Client>,
    took: Vec<f64>,
}

impl Pings {
    pub(super) fn new(clients: Vec<Client>) -> Self {
        Self { clients, took: Vec::new() }
    }

    /// Pings until one fails.
    pub(super) async fn run(&mut self) -> Error {
        let mut due = ticks(PING);
        loop {
            for client in &mut self.clients {
                due.tick().await;
                let sent = Instant::now();
                if let Err(error) = client.ping().await {
                    return error;
                }
                self.took.push(sent.elapsed().as_secs_f64());
            }
        }
    }

    pub(super) fn sorted(self) -> Vec<f64> {
        sorted(self.took)
    }
}

/// The memory of what is to be sent, as the server counts it.
#[derive(Default)]
pub(super) struct Held {
    /// The most that was seen, in bytes.
    pub(super) most: f64,
}

impl Held {
    /// Reads it until that fails.
    pub(super) async fn watch(&mut self, cloud: &WaitingCloud) -> Error {
        loop {
            match cloud.sample("fedecks_sessions_queued_held_bytes").await {
                Ok(held) => self.most = self.most.max(held),
                Err(error) => return error,
            }
            sleep(SAMPLE).await;
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut due = interval(period);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    due
}

fn sorted(mut times: Vec<f64>) -> Vec<f64> {
    times.sort_by(f64::total_cmp);
    times
}
