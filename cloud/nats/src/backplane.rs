//! The backplane itself: connects, and does what the nodes of this process call.

use std::future::ready;
use std::sync::{Arc, Weak};
use std::time::Duration;

use fedecks_cloud::messaging::backplane::{Backplane, Node, Payload};
use fedecks_cloud::messaging::{
    BackplaneError, DeliverError, Message, NodeId, Presence, PresenceWatch, RequestError, Topic,
};
use fedecks_cloud::store::BoxFuture;
use fedecks_cloud::{DeviceId, Term};
use fedecks_delivery::clamp_timeout;
use fedecks_protocol::CloseReason;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::calls::FIRST_HAND;
use crate::link::Link;
use crate::options::{NatsError, NatsOptions};
use crate::shared::Shared;
use crate::state::NatsState;
use crate::tasks;
use crate::wire::{Call, Change, OnTopic};

/// How many commands wait in the client. Messages wait in a queue that is bounded in bytes.
const COMMANDS: usize = 16;

/// How many messages of one subscription wait until they are handled.
const INCOMING: usize = 4096;

/// The longest pause between two attempts to connect.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// The nodes of this process, connected to those of others by NATS.
pub struct NatsBackplane {
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

impl NatsBackplane {
    /// A backplane that connects in the background, as often as needed: it does not fail because NATS cannot be reached
    /// now, or refuses the login. Fails if the options cannot be used.
    pub async fn connect(options: NatsOptions) -> Result<Arc<Self>, NatsError> {
        options.check_prefix()?;
        let link = Arc::new(Link::new());
        let report = link.clone();
        let client = options
            .client()?
            .name("fedecks")
            .retry_on_initial_connect()
            .client_capacity(COMMANDS)
            .subscription_capacity(INCOMING)
            .ping_interval(options.times.heartbeat)
            .reconnect_delay_callback(|attempts| {
                let doubled = u32::try_from(attempts.min(8)).map_or(1, |count| 1 << count);
                (Duration::from_millis(10) * doubled).min(MAX_PAUSE)
            })
            .event_callback(move |event| {
                report.report(&event);
                ready(())
            });
        let failed = |error: &dyn std::fmt::Display| NatsError::Client(error.to_string());
        let client = client.connect(options.servers()?).await.map_err(|error| failed(&error))?;
        let NatsOptions { prefix, times, .. } = options;
        let shared = Arc::new(Shared::new(prefix, times, client, link));
        let mut tasks = Vec::new();
        let subscriptions: [(_, tasks::OnMessage); 4] = [
            (shared.answers(shared.me) + "*", Shared::on_answer),
            (shared.letters(shared.me), Shared::on_letter),
            (shared.announcements(), Shared::on_announcement),
            (shared.topic_messages(), Shared::on_topic),
        ];
        for (subject, on_message) in subscriptions {
            let subscriber = shared.client.subscribe(subject).await;
            let subscriber = subscriber.map_err(|error| failed(&error))?;
            let reading = tasks::read(shared.clone(), subscriber, on_message);
            tasks.push(tokio::spawn(reading).abort_handle());
        }
        tasks.push(tokio::spawn(tasks::write(shared.clone())).abort_handle());
        tasks.push(tokio::spawn(tasks::announce(shared.clone())).abort_handle());
        tasks.push(tokio::spawn(tasks::watch(shared.clone())).abort_handle());
        Ok(Arc::new(Self { shared, tasks }))
    }

    /// How the connection is, and what was counted.
    pub fn state(&self) -> NatsState {
        let nodes = self.shared.presences.lock().fleet.peers();
        let counters = self.shared.link.counters.snapshot();
        let status = self.shared.link.status.lock();
        let (connected, since, error) = (status.connected, status.since, status.error.clone());
        NatsState { connected, since, error, nodes, counters }
    }
}

impl Drop for NatsBackplane {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.shared.answering.end();
        // Not while the runtime ends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tasks::farewell(self.shared.clone()));
        }
    }
}

impl std::fmt::Debug for NatsBackplane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsBackplane").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Backplane for NatsBackplane {
    fn join(&self, id: NodeId, node: Weak<dyn Node>) {
        self.shared.nodes.lock().insert(id, node);
    }

    fn leave(&self, id: NodeId) {
        self.shared.nodes.lock().remove(&id);
        self.shared.topics.lock().leave(id);
        self.shared.change(|presences, effects| {
            presences.fleet.leave(id, effects);
            self.shared.announce(presences, Change::NodeLeft(id));
        });
    }

    fn subscribe(&self, node: NodeId, topic: &Topic) {
        self.shared.topics.lock().subscribe(node, topic);
    }

    fn unsubscribe(&self, node: NodeId, topic: &Topic) {
        self.shared.topics.lock().unsubscribe(node, topic);
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: &'a Message,
    ) -> BoxFuture<'a, Result<(), BackplaneError>> {
        self.shared.publish_here(topic, message);
        let sent = OnTopic::encode(self.shared.me, topic, message)
            .map_err(|error| BackplaneError::new(format!("cannot encode the message: {error}")))
            .and_then(|payload| self.shared.send(self.shared.topic_messages(), None, payload));
        Box::pin(ready(sent))
    }

    fn register(&self, presence: &Arc<Presence>) {
        self.shared.change(|presences, effects| {
            if presences.fleet.register(presence, effects) {
                self.shared.announce(presences, Change::Arrived(presence.clone()));
            }
        });
    }

    fn unregister(&self, presence: &Arc<Presence>) {
        self.shared.change(|presences, effects| {
            if presences.fleet.unregister(presence, effects) {
                self.shared.announce(presences, Change::Left(presence.clone()));
            }
        });
    }

    fn find<'a>(
        &'a self,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<Option<Arc<Presence>>, BackplaneError>> {
        Box::pin(ready(Ok(self.shared.entry(device).map(|entry| entry.presence))))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Arc<Presence>>, BackplaneError>> {
        Box::pin(ready(Ok(self.shared.presences.lock().fleet.all())))
    }

    fn connected(&self) -> usize {
        self.shared.presences.lock().fleet.len()
    }

    fn watch(&self) -> BoxFuture<'_, Result<PresenceWatch, BackplaneError>> {
        let presences = self.shared.presences.lock();
        let watch = self.shared.events.watch(presences.fleet.all());
        Box::pin(ready(Ok(watch)))
    }

    fn deliver<'a>(
        &'a self,
        device: &'a DeviceId,
        payload: &'a Payload,
    ) -> BoxFuture<'a, Result<(), DeliverError>> {
        let shared = &self.shared;
        Box::pin(async move {
            let mut search = shared.search();
            loop {
                let entry = shared.entry(device).ok_or(DeliverError::NotConnected)?;
                let result = shared.deliver(&entry, payload).await;
                let is_elsewhere = result == Err(DeliverError::NotConnected);
                if !is_elsewhere || !search.moves(&entry.presence).await {
                    return result;
                }
            }
        })
    }

    fn wake(&self, device: &DeviceId) {
        let Some(entry) = self.shared.entry(device) else { return };
        if entry.owner != self.shared.me {
            // If it is lost, the device gets its messages when it connects, or with the next one.
            let _ = self.shared.send_call(&entry, FIRST_HAND, Call::Wake, None);
        } else if let Some(node) = self.shared.node(entry.presence.connection.node()) {
            node.wake(device);
        }
    }

    fn close<'a>(
        &'a self,
        device: &'a DeviceId,
        reason: CloseReason,
    ) -> BoxFuture<'a, Result<bool, BackplaneError>> {
        let shared = &self.shared;
        Box::pin(async move {
            let mut search = shared.search();
            loop {
                let Some(entry) = shared.entry(device) else { return Ok(false) };
                let result = shared.close(&entry, reason).await;
                if result != Ok(false) || !search.moves(&entry.presence).await {
                    return result;
                }
            }
        })
    }

    fn ask<'a>(
        &'a self,
        device: &'a DeviceId,
        question: &'a Term,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Term, RequestError>> {
        let shared = &self.shared;
        Box::pin(async move {
            let until = Instant::now() + clamp_timeout(timeout);
            let mut search = shared.search();
            loop {
                let entry = shared.entry(device).ok_or(RequestError::NotConnected)?;
                let result = shared.ask(&entry, question, until).await;
                let is_elsewhere = result == Err(RequestError::NotConnected);
                if !is_elsewhere || !search.moves(&entry.presence).await {
                    return result;
                }
            }
        })
    }
}
