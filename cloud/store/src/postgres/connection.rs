//! The pool of connections, and the settings of each.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;
use tokio_postgres::config::TargetSessionAttrs;

use super::identity::Identities;
use super::location::{Encryption, Location};
use super::tls;
use crate::error::StoreError;

/// How long connecting to one address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long data may wait to be acknowledged by the server's machine before the connection is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// How long a connection is silent before the server's machine is asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);

/// A change is answered when it is on disk, and on that of a synchronous standby if there is one, whatever the
/// defaults of the database are. The times are those of a call, and bound what is left of one whose connection was lost,
/// or whose process was stopped: who takes its place waits for its transactions.
const SETTINGS: &str = "SET client_min_messages = warning;
    SET default_transaction_isolation = 'read committed';
    SET statement_timeout = '6s';
    SET lock_timeout = 0;
    SET idle_in_transaction_session_timeout = '4s';
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')";

/// A pool of at most this many connections, which are opened when they are needed.
pub(super) fn pool(
    location: &Location,
    connections: usize,
    identities: Option<Arc<Identities>>,
) -> Result<Pool, StoreError> {
    let failed = |why: String| StoreError::failed(&location.shown, "open", why);
    let mut config = location.config.clone();
    config
        .application_name("fedecks")
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(UNACKNOWLEDGED)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_AFTER)
        .keepalives_interval(KEEPALIVE_AFTER / 2)
        .keepalives_retries(3)
        // Never a standby.
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match &location.encryption {
        Encryption::No => {
            config.ssl_mode(tokio_postgres::config::SslMode::Disable);
            Manager::from_config(config, NoTls, recycling)
        }
        Encryption::Verified(certificates) => {
            config.ssl_mode(tokio_postgres::config::SslMode::Require);
            let tls = tls::verified_by(certificates).map_err(failed)?;
            Manager::from_config(config, tls, recycling)
        }
    };
    let prepare = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
        let identities = identities.clone();
        Box::pin(async move {
            client.batch_execute(SETTINGS).await.map_err(HookError::Backend)?;
            match identities {
                None => Ok(()),
                Some(identities) => identities.check(client).await.map_err(HookError::Backend),
            }
        })
    });
    Pool::builder(manager)
        .max_size(connections)
        .runtime(Runtime::Tokio1)
        .post_create(prepare)
        .build()
        .map_err(|error| failed(error.to_string()))
}
