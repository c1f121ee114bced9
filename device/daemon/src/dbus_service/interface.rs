//! The methods, properties and signals of `org.fedecks.Device1`.

use std::time::Duration;

use fedecks_dbus::{Device1Error, Dictionary, Received, ReceivedDictionary, Variant, VariantError};
use fedecks_device::Client;
use fedecks_protocol::{Credentials, Limits, Term};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use zbus::Connection;
use zbus::message::Header;
use zbus::names::UniqueName;
use zbus::object_server::SignalEmitter;

use super::deliveries::{self, Consumers};
use super::error::{IntoDbusError, login_error};
use super::kept::{KeptOptions, Tracked};
use super::properties;
use super::requests::{Answering, request_timeout};
use crate::health::DeviceHealth;

/// The default timeout of callers is 25 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How many calls may be pending at once. Each keeps its message in memory.
const MAX_CALLS: usize = 16;

/// How many calls may wait for outcomes of kept messages, in addition: they must not keep others from calling.
const MAX_WAITS: usize = 64;

/// What messages may take, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryLimits {
    /// A message from the cloud that is decoded.
    pub(crate) max_decoded: usize,
    /// All calls that are pending, with their messages.
    pub(crate) max_waiting: usize,
}

/// The D-Bus object.
pub(super) struct Device1 {
    client: Client,
    health: DeviceHealth,
    calls: Semaphore,
    waits: Semaphore,
    /// The memory that is left for calls, in KiB.
    memory: Semaphore,
    max_memory: u32,
    tracked: Tracked,
    answering: Answering,
    consumers: Consumers,
    max_message: usize,
}

/// The place of a pending call.
struct Call<'a> {
    _place: SemaphorePermit<'a>,
    _memory: SemaphorePermit<'a>,
}

const KIB: usize = 1024;

impl MemoryLimits {
    /// The most that a message takes on D-Bus: every list of numbers or texts takes less than this, but a list
    /// of nulls takes more than its term.
    pub(super) fn max_signal(&self) -> usize {
        self.max_decoded / 2 + 64 * KIB
    }
}

impl Device1 {
    pub(super) fn new(client: Client, health: DeviceHealth, limits: MemoryLimits) -> Self {
        let max_memory = u32::try_from(limits.max_waiting / KIB).unwrap_or(u32::MAX).max(1);
        let permits = usize::try_from(max_memory).unwrap_or(usize::MAX);
        let memory = Semaphore::new(permits.min(Semaphore::MAX_PERMITS));
        let (calls, waits) = (Semaphore::new(MAX_CALLS), Semaphore::new(MAX_WAITS));
        Self {
            client,
            health,
            calls,
            waits,
            memory,
            max_memory,
            tracked: Tracked::default(),
            answering: Answering::default(),
            consumers: Consumers::default(),
            max_message: limits.max_signal(),
        }
    }

    /// Admits a call that keeps as many bytes in memory. One that takes more than all may take is admitted
    /// if there is no other.
    fn begin(&self, bytes: usize) -> Result<Call<'_>, Device1Error> {
        let place = self.calls.try_acquire().map_err(|_| {
            Device1Error::Busy(format!("{MAX_CALLS} calls are pending, try again later"))
        })?;
        let share = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX).min(self.max_memory);
        let memory = self.memory.try_acquire_many(share).map_err(|_| {
            Device1Error::Busy(format!(
                "pending calls take {} KiB of memory together with this one, {} are allowed; try \
                 again later",
                usize::try_from(self.max_memory).unwrap_or(usize::MAX)
                    - self.memory.available_permits()
                    + bytes.div_ceil(KIB),
                self.max_memory
            ))
        })?;
        Ok(Call { _place: place, _memory: memory })
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

const SENDING: &str = "the message may still be sent, or have arrived";

const KEEPING: &str = "the message may still be queued";

#[zbus::interface(name = "org.fedecks.Device1")]
impl Device1 {
    #[zbus(out_args("persisted"))]
    async fn login(
        &self,
        #[zbus(header)] header: Header<'_>,
        credentials: ReceivedDictionary,
    ) -> Result<bool, Device1Error> {
        let credentials = credentials.0?.into_term();
        let _call = self.begin(size(&header) + credentials.weight())?;
        let credentials = Credentials::from_term(credentials)
            .map_err(|error| Device1Error::InvalidArgument(error.to_string()))?;
        let login = async {
            let login = self.client.login(credentials).await;
            login.map_err(|error| login_error(error, self.client.device_id()))
        };
        Ok(self.reply(login, "the login continues to wait for the cloud").await?.persisted)
    }

    async fn logout(&self) -> Result<(), Device1Error> {
        let _call = self.begin(0)?;
        self.reply(self.client.logout(), "the token is still being removed from the disk").await
    }

    async fn send(
        &self,
        #[zbus(header)] header: Header<'_>,
        message: Received,
    ) -> Result<(), Device1Error> {
        let term = message.0?.into_term();
        let _call = self.begin(size(&header) + term.weight())?;
        self.reply(self.client.send_term_confirmed(term), SENDING).await
    }

    async fn send_raw(
        &self,
        #[zbus(header)] header: Header<'_>,
        bytes: &[u8],
    ) -> Result<(), Device1Error> {
        let _call = self.begin(size(&header) + bytes.len())?;
        let max = Limits::default().max_size;
        if bytes.len() > max {
            return Err(VariantError::TooBig { max }.into());
        }
        self.reply(self.client.send_raw_confirmed(bytes), SENDING).await
    }

    #[zbus(out_args("id"))]
    async fn send_kept(
        &self,
        #[zbus(header)] header: Header<'_>,
        message: Received,
        options: ReceivedDictionary,
    ) -> Result<String, Device1Error> {
        let options = KeptOptions::parse(options)?;
        self.tracked.check_room(&options)?;
        let term = message.0?.into_term();
        let _call = self.begin(size(&header) + term.weight())?;
        let kept = self.reply(self.client.send_term_kept(term, options.keep), KEEPING).await?;
        Ok(self.tracked.answer(kept, &options))
    }

    #[zbus(out_args("id"))]
    async fn send_raw_kept(
        &self,
        #[zbus(header)] header: Header<'_>,
        bytes: &[u8],
        options: ReceivedDictionary,
    ) -> Result<String, Device1Error> {
        let options = KeptOptions::parse(options)?;
        self.tracked.check_room(&options)?;
        let _call = self.begin(size(&header) + bytes.len())?;
        let kept = self.reply(self.client.send_raw_kept(bytes, options.keep), KEEPING).await?;
        Ok(self.tracked.answer(kept, &options))
    }

    #[zbus(out_args("outcome"))]
    async fn wait_settled(&self, id: &str) -> Result<&'static str, Device1Error> {
        let _place = self.waits.try_acquire().map_err(|_| {
            Device1Error::Busy(format!("{MAX_WAITS} calls wait for outcomes, try again later"))
        })?;
        self.tracked.wait(id, CALL_TIMEOUT).await
    }

    #[zbus(out_args("reply"))]
    async fn request(
        &self,
        #[zbus(header)] header: Header<'_>,
        message: Received,
        timeout: u32,
    ) -> Result<Variant, Device1Error> {
        let term = message.0?.into_term();
        let _call = self.begin(size(&header) + term.weight())?;
        let reply = self.client.request_term(term, request_timeout(timeout)).await;
        Ok(Variant::new(reply.map_err(IntoDbusError::into_dbus_error)?)?)
    }

    #[zbus(out_args("id", "message", "details"))]
    async fn next_request(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
        timeout: u32,
    ) -> Result<(u64, Variant, Dictionary), Device1Error> {
        let limit = CALL_TIMEOUT.min(Duration::from_secs(timeout.into()));
        self.answering.next(&self.client, caller(&header)?, limit, &emitter).await
    }

    async fn reply_to_request(
        &self,
        #[zbus(header)] header: Header<'_>,
        id: u64,
        message: Received,
    ) -> Result<(), Device1Error> {
        let term = message.0?.into_term();
        let _call = self.begin(size(&header) + term.weight())?;
        self.answering.answer(caller(&header)?, id, Ok(term)).await
    }

    async fn refuse_request(
        &self,
        #[zbus(header)] header: Header<'_>,
        id: u64,
        text: &str,
    ) -> Result<(), Device1Error> {
        let _call = self.begin(size(&header))?;
        self.answering.answer(caller(&header)?, id, Err(text.to_owned())).await
    }

    #[zbus(out_args("id", "message", "details"))]
    async fn next_message(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        lane: &str,
        timeout: u32,
    ) -> Result<(String, Variant, Dictionary), Device1Error> {
        let lane = deliveries::lane(lane)?;
        let limit = CALL_TIMEOUT.min(Duration::from_secs(timeout.into()));
        let caller = (caller(&header)?, connection);
        self.consumers.next(&self.client, caller, lane, limit, self.max_message).await
    }

    fn acknowledge(
        &self,
        #[zbus(header)] header: Header<'_>,
        id: &str,
    ) -> Result<(), Device1Error> {
        self.consumers.acknowledge(caller(&header)?, id)
    }

    fn reject(
        &self,
        #[zbus(header)] header: Header<'_>,
        id: &str,
        reason: &str,
    ) -> Result<(), Device1Error> {
        self.consumers.reject(caller(&header)?, id, reason)
    }

    async fn reconnect(&self) -> Result<(), Device1Error> {
        let _call = self.begin(0)?;
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
    pub(super) async fn request_cancelled(emitter: &SignalEmitter<'_>, id: u64)
    -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn event(
        emitter: &SignalEmitter<'_>,
        name: &str,
        details: &Dictionary,
    ) -> zbus::Result<()>;
}

/// Who calls.
fn caller<'a>(header: &'a Header<'_>) -> Result<&'a UniqueName<'a>, Device1Error> {
    let no_sender = || Device1Error::InvalidArgument("the call has no sender".to_owned());
    header.sender().ok_or_else(no_sender)
}

/// The size of a call's message, which is kept until the reply.
fn size(header: &Header<'_>) -> usize {
    usize::try_from(header.primary().body_len()).unwrap_or(usize::MAX)
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
        let health = DeviceHealth::unregistered(folder.path()).await;
        let limits = MemoryLimits { max_decoded: 1, max_waiting: 100 * KIB };
        let device = Device1::new(health.client.clone(), health, limits);
        let pending: Vec<_> = (0..MAX_CALLS).map(|_| device.begin(0).unwrap()).collect();
        assert!(matches!(device.reconnect().await, Err(Device1Error::Busy(_))));
        drop(pending);
        assert!(matches!(device.reconnect().await, Err(Device1Error::NotRegistered(_))));

        let pending = [device.begin(40 * KIB), device.begin(50 * KIB)];
        let refused = device.begin(20 * KIB).err().unwrap().to_string();
        assert!(refused.contains("110 KiB of memory together with this one, 100"), "{refused}");
        assert!(device.begin(10 * KIB).is_ok());
        assert!(matches!(device.begin(usize::MAX), Err(Device1Error::Busy(_))));
        drop(pending);
        assert!(device.begin(usize::MAX).is_ok());
    }
}
