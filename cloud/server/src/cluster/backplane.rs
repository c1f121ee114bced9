//! The connection to the other servers, by NATS.

use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::messaging::backplane::Backplane;
use fedecks_nats::{NatsBackplane, NatsError, NatsOptions};
use tokio::time::{Instant, sleep};

use crate::config::Cluster;
use crate::error::ServerError;

/// A connection to the other servers, which is made again whenever it is lost.
pub(crate) struct Joined(Arc<NatsBackplane>);

/// How long [`check`] waits for NATS.
const CHECK_TIME: Duration = Duration::from_secs(5);

/// How often it looks.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

impl Joined {
    /// For the hub of this server.
    pub(crate) fn backplane(&self) -> Arc<dyn Backplane> {
        self.0.clone()
    }

    /// Whether the others can be reached.
    pub(crate) fn is_connected(&self) -> bool {
        self.0.state().connected
    }

    /// How many other servers are heard.
    pub(crate) fn others(&self) -> usize {
        self.0.state().nodes
    }
}

/// Connects this server to the others. Does not wait for NATS.
pub(crate) async fn join(cluster: &Cluster) -> Result<Joined, ServerError> {
    let mut options = NatsOptions::new(cluster.nats.join(","));
    if let Some((user, password)) = cluster.login()? {
        (options.user, options.password) = (Some(user), Some(password.expose().to_owned()));
    }
    options.credentials_file = cluster.nats_credentials_file.clone();
    options.ca_file = cluster.nats_ca_file.clone();
    options.prefix = cluster.prefix.clone();
    let connected = NatsBackplane::connect(options).await;
    Ok(Joined(connected.map_err(|error: NatsError| ServerError::Nats(error.to_string()))?))
}

/// Fails unless NATS can be reached and accepts this server.
pub(crate) async fn check(cluster: &Cluster) -> Result<(), ServerError> {
    let joined = join(cluster).await?;
    let until = Instant::now() + CHECK_TIME;
    while !joined.is_connected() {
        if Instant::now() >= until {
            let why = joined.0.state().error.unwrap_or_else(|| "it does not answer".to_owned());
            let nats = cluster.nats.join(", ");
            return Err(ServerError::Nats(format!("cannot reach NATS at {nats}: {why}")));
        }
        sleep(CHECK_INTERVAL).await;
    }
    Ok(())
}
