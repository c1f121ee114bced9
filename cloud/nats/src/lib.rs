//! The backplane of several Fedecks servers on NATS core: topics, presence, deliveries and requests between nodes.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use fedecks_nats::{NatsBackplane, NatsOptions};
//!
//! let mut options = NatsOptions::new("nats://nats-1:4222,nats://nats-2:4222");
//! options.user = Some("fedecks".to_owned());
//! options.password = Some(std::env::var("NATS_PASSWORD")?);
//! let backplane = NatsBackplane::connect(options).await?;
//! // Give it to the builder of each server.
//! # drop(backplane);
//! # Ok(())
//! # }
//! ```
//!
//! Nothing is kept in NATS: a lost message costs time, never a kept message. Any version will do, from 2.2 on, without
//! JetStream. All subjects begin with [`NatsOptions::prefix`], and a user of NATS who may publish there can do everything
//! that a node can, so give the nodes their own user or account.
//!
//! # Presence
//!
//! Each node holds the presence of the whole fleet in memory. It announces its own changes with increasing numbers,
//! collected for 5 ms, and repeats the last number every 2 s. Another node that misses a number, or does not know the
//! node yet, asks it for a snapshot. The devices of a node that is silent for 10 s leave. While NATS is away, a node
//! keeps what it knows, and calls to other nodes fail with a
//! [`BackplaneError`](fedecks_cloud::messaging::BackplaneError).
//!
//! # Topics
//!
//! What a node publishes reaches its own sessions directly. All topics share one subject: each node receives what others
//! publish, and ignores topics without sessions or subscriptions here. Messages of one node stay in their order. A message
//! that does not fit in NATS's `max_payload` is an error.
//!
//! # Calls
//!
//! Deliveries, closes and requests go to the node that has announced the device. If the device is not there any more,
//! they follow it for up to 2 s while its presence changes. Whether a request whose answer is lost was acted on is
//! unknown, and its error says so.
//!
//! # Memory
//!
//! What waits for NATS takes up to 32 MiB, and the questions in progress of other nodes up to 64 MiB; what does not fit
//! is refused or dropped, and counted in [`NatsState::counters`].

mod answering;
mod backplane;
mod calls;
mod fleet;
mod incoming;
mod link;
mod options;
mod outgoing;
mod shared;
mod state;
mod tasks;
mod waiting;
mod wire;

pub use backplane::NatsBackplane;
pub use options::{NatsError, NatsOptions, Times};
pub use state::{NatsCounters, NatsState};
