//! One connection attempt: from the cloud's host name to an upgraded WebSocket.

mod answer;
mod error;
mod getaddrinfo;
mod history;
mod progress;
mod race;
mod resolver;
mod target;
mod upgrade;

use std::time::Duration;

use fedecks_device_core::Phase;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;

pub(crate) use self::error::DialError;
pub(crate) use self::history::Probation;
use self::progress::Progress;
use self::race::{Established, Race};
pub(crate) use self::target::Target;
use self::upgrade::Request;
use crate::tls::VerifiedPeer;
use crate::transport::Transport;

/// How long to wait for the response to the upgrade request while there is another address to try. The cloud may have
/// to hash a password; a cloud that is this slow at each of its addresses has the whole phase at the next attempt.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(10);

/// A WebSocket on which nothing has been sent or received yet.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) socket: WebSocketStream<Transport>,
    /// The verified peer; only with TLS.
    pub(crate) peer: Option<VerifiedPeer>,
    /// Passed when the first message has been received.
    pub(crate) probation: Probation,
}

/// Makes one attempt, with `auth_header` as the value of `x-fedecks-auth`. Calls `on_phase` at the
/// beginning of each phase. There is no deadline: dropping the future aborts the attempt and closes the
/// connection. An address that fails after TCP is not the end of the attempt if there is another one.
pub(crate) async fn dial(
    target: &Target,
    auth_header: String,
    on_phase: impl FnMut(Phase),
) -> Result<Upgraded, DialError> {
    let request = Request::new(&target.url, target.dialect, auth_header)?;
    let mut progress = Progress::new(on_phase);
    progress.enter(Phase::Resolve);
    let mut race = Race::begin(target, target.resolver.lookup()).await?;
    progress.enter(Phase::Tcp);
    loop {
        let Some(established) = race.next(&mut progress).await else {
            return Err(race.into_error());
        };
        let Established { transport, peer, address, probation } = established;
        progress.enter(Phase::Upgrade);
        let upgrade = upgrade::upgrade(&request, transport, target.max_message);
        let result = if race.has_fresh() {
            timeout(UPGRADE_PATIENCE, upgrade)
                .await
                .unwrap_or_else(|_| Err(DialError::Upgrade("no response within 10 s".to_owned())))
        } else {
            upgrade.await
        };
        match result {
            Ok(socket) => return Ok(Upgraded { socket, peer, probation }),
            Err(DialError::Upgrade(problem)) => race.failed(address, &problem),
            Err(error) => {
                if matches!(error, DialError::Refused { .. }) {
                    probation.pass();
                }
                return Err(error);
            }
        }
    }
}

#[cfg(test)]
mod tests;
