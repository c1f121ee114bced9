//! The methods, properties and signals of `org.fedecks.Device1`.

use std::time::Duration;

use fedecks_dbus::{Device1Error, Dictionary, Received, ReceivedDictionary, Variant, VariantError};
use fedecks_device::Client;
use fedecks_protocol::{Credentials, Limits, Term};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use zbus::object_server::SignalEmitter;

use super::error::OnBus;
use super::properties;
use crate::health::DeviceHealth;

/// Callers give up after 25 s where they do not say otherwise.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// How many calls may wait for something. Each keeps its message in memory.
const MAX_CALLS: usize = 16;

/// The object.
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
            Device1Error::Busy(format!("{MAX_CALLS} calls wait for their answers, try again later"))
        })
    }

    /// What went wrong last, as an end of a sentence.
    fn trouble(&self) -> String {
        match properties::last_error(&self.client.status()) {
            error if error.is_empty() => String::new(),
            error => format!(": {error}"),
        }
    }

    /// What the client answers, or after the deadline that it goes on without the caller.
    async fn answer<T, E: OnBus>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
        meanwhile: &str,
    ) -> Result<T, Device1Error> {
        match timeout(ANSWER_DEADLINE, answer).await {
            Ok(answer) => answer.map_err(OnBus::on_bus),
            Err(_) => Err(Device1Error::Unreachable(format!(
                "no answer within {} s, {meanwhile}{}",
                ANSWER_DEADLINE.as_secs(),
                self.trouble()
            ))),
        }
    }
}

/// What becomes of a message that could not be handed over in time.
const SENDING: &str = "the message waits for the connection and may still be sent";

#[zbus::interface(name = "org.fedecks.Device1")]
impl Device1 {
    #[zbus(out_args("persisted"))]
    async fn login(&self, credentials: ReceivedDictionary) -> Result<bool, Device1Error> {
        let _call = self.begin()?;
        let credentials = Credentials::from_term(credentials.0?.into_term())
            .map_err(|error| Device1Error::InvalidArgument(error.to_string()))?;
        let login = self.client.login(credentials);
        Ok(self.answer(login, "the login goes on waiting for the cloud").await?.persisted)
    }

    async fn logout(&self) -> Result<(), Device1Error> {
        let _call = self.begin()?;
        self.answer(self.client.logout(), "the token is still being removed from the disk").await
    }

    async fn send(&self, message: Received) -> Result<(), Device1Error> {
        let _call = self.begin()?;
        let term = message.0?.into_term();
        self.answer(self.client.send(&term), SENDING).await
    }

    async fn send_raw(&self, bytes: &[u8]) -> Result<(), Device1Error> {
        let _call = self.begin()?;
        let max = Limits::default().max_size;
        if bytes.len() > max {
            return Err(VariantError::TooBig { max }.into());
        }
        self.answer(self.client.send_raw(bytes), SENDING).await
    }

    async fn reconnect(&self) -> Result<(), Device1Error> {
        let _call = self.begin()?;
        self.answer(self.client.reconnect(), "the connection is still being ended").await
    }

    #[zbus(out_args("health"))]
    async fn get_health(&self) -> Result<Dictionary, Device1Error> {
        match self.health.examine().map(without_nothing) {
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

/// A term without the map entries that hold nothing: D-Bus tools would show each as an escape.
fn without_nothing(term: Term) -> Term {
    match term {
        Term::Map(entries) => Term::Map(
            entries
                .into_iter()
                .filter(|(_, value)| *value != Term::Nil)
                .map(|(key, value)| (key, without_nothing(value)))
                .collect(),
        ),
        Term::List(terms) => Term::List(terms.into_iter().map(without_nothing).collect()),
        Term::Nil
        | Term::Bool(_)
        | Term::Int(_)
        | Term::Float(_)
        | Term::Str(_)
        | Term::Bytes(_)
        | Term::Atom(_)
        | Term::Tuple(_) => term,
    }
}

#[cfg(test)]
mod tests {
    use fedecks_protocol::DeviceId;

    use super::*;

    #[tokio::test]
    async fn more_calls_than_may_wait_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let url = "ws://127.0.0.1:1".parse().unwrap();
        let client = Client::builder(url, DeviceId::new("d").unwrap()).data_dir(folder.path());
        let client = client.start().unwrap();
        let device = Device1::new(client.clone(), DeviceHealth::of(client));
        let waiting: Vec<_> = (0..MAX_CALLS).map(|_| device.begin().unwrap()).collect();
        assert!(matches!(device.reconnect().await, Err(Device1Error::Busy(_))));
        drop(waiting);
        assert!(matches!(device.reconnect().await, Err(Device1Error::NotRegistered(_))));
    }
}
