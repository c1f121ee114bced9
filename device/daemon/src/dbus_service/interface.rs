//! The methods, properties and signals of `org.fedecks.Device1`.

use std::time::Duration;

use fedecks_dbus::{Device1Error, Dictionary, Received, ReceivedDictionary, Variant, VariantError};
use fedecks_device::Client;
use fedecks_protocol::{Credentials, Limits, Term};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use zbus::object_server::SignalEmitter;

use super::error::IntoDbusError;
use super::properties;
use crate::health::DeviceHealth;

/// The default timeout of callers is 25 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How many calls may be pending at once. Each keeps its message in memory.
const MAX_CALLS: usize = 16;

/// The D-Bus object.
pub(super) struct Device1 {
    client: Client,
    health: DeviceHealth,
    calls: Semaphore,
}

impl Device1 {
    pub(super) fn new(client: Client, health: DeviceHealth) -> Self {
        Self { client, health, calls: Semaphore::new(MAX_CALLS) }
    }

    fn begin(&self) -> Result<SemaphorePermit<'_>, Device1Error> {
        self.calls.try_acquire().map_err(|_| {
            Device1Error::Busy(format!("{MAX_CALLS} calls are pending, try again later"))
        })
    }

    /// The last error, to append to a sentence.
    fn last_error_suffix(&self) -> String {
        match properties::last_error(&self.client.status()) {
            error if error.is_empty() => String::new(),
            error => format!(": {error}"),
        }
    }

    /// Waits for the client's reply, or returns an error that describes what continues after the timeout.
    async fn reply<T, E: IntoDbusError>(
        &self,
        reply: impl Future<Output = Result<T, E>>,
        continues: &str,
    ) -> Result<T, Device1Error> {
        match timeout(CALL_TIMEOUT, reply).await {
            Ok(reply) => reply.map_err(IntoDbusError::into_dbus_error),
            Err(_) => Err(Device1Error::Unreachable(format!(
                "no reply within {} s; {continues}{}",
                CALL_TIMEOUT.as_secs(),
                self.last_error_suffix()
            ))),
        }
    }
}

const SENDING: &str = "the message is queued and may still be sent";

#[zbus::interface(name = "org.fedecks.Device1")]
impl Device1 {
    #[zbus(out_args("persisted"))]
    async fn login(&self, credentials: ReceivedDictionary) -> Result<bool, Device1Error> {
        let _call = self.begin()?;
        let credentials = Credentials::from_term(credentials.0?.into_term())
            .map_err(|error| Device1Error::InvalidArgument(error.to_string()))?;
        let login = self.client.login(credentials);
        Ok(self.reply(login, "the login continues to wait for the cloud").await?.persisted)
    }

    async fn logout(&self) -> Result<(), Device1Error> {
        let _call = self.begin()?;
        self.reply(self.client.logout(), "the token is still being removed from the disk").await
    }

    async fn send(&self, message: Received) -> Result<(), Device1Error> {
        let _call = self.begin()?;
        let term = message.0?.into_term();
        self.reply(self.client.send(&term), SENDING).await
    }

    async fn send_raw(&self, bytes: &[u8]) -> Result<(), Device1Error> {
        let _call = self.begin()?;
        let max = Limits::default().max_size;
        if bytes.len() > max {
            return Err(VariantError::TooBig { max }.into());
        }
        self.reply(self.client.send_raw(bytes), SENDING).await
    }

    async fn reconnect(&self) -> Result<(), Device1Error> {
        let _call = self.begin()?;
        self.reply(self.client.reconnect(), "the connection is still being closed").await
    }

    #[zbus(out_args("health"))]
    async fn get_health(&self) -> Result<Dictionary, Device1Error> {
        match self.health.to_term().map(without_nil) {
            Ok(Term::Map(entries)) => Ok(Dictionary::new(entries)?),
            Ok(_) | Err(_) => Ok(Dictionary::default()),
        }
    }

    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.client.status().state_name()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn device_id(&self) -> &str {
        self.client.device_id().as_str()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn url(&self) -> String {
        self.client.url().to_string()
    }

    #[zbus(property)]
    fn connected_since(&self) -> u64 {
        properties::connected_since(&self.client)
    }

    #[zbus(property)]
    fn network_state(&self) -> &'static str {
        self.client.status().network_name()
    }

    #[zbus(property)]
    fn last_error(&self) -> String {
        properties::last_error(&self.client.status())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    #[zbus(signal)]
    pub(super) async fn message_received(
        emitter: &SignalEmitter<'_>,
        message: &Variant,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn raw_message_received(
        emitter: &SignalEmitter<'_>,
        bytes: &[u8],
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn event(
        emitter: &SignalEmitter<'_>,
        name: &str,
        details: &Dictionary,
    ) -> zbus::Result<()>;
}

/// Removes map entries without a value, which D-Bus has only an escape for.
fn without_nil(term: Term) -> Term {
    match term {
        Term::Map(entries) => Term::Map(
            entries
                .into_iter()
                .filter(|(_, value)| *value != Term::Nil)
                .map(|(key, value)| (key, without_nil(value)))
                .collect(),
        ),
        Term::List(terms) => Term::List(terms.into_iter().map(without_nil).collect()),
        _ => term,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_beyond_the_limit_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let health = DeviceHealth::unregistered(folder.path());
        let device = Device1::new(health.client.clone(), health);
        let pending: Vec<_> = (0..MAX_CALLS).map(|_| device.begin().unwrap()).collect();
        assert!(matches!(device.reconnect().await, Err(Device1Error::Busy(_))));
        drop(pending);
        assert!(matches!(device.reconnect().await, Err(Device1Error::NotRegistered(_))));
    }
}
