//! The event loop: feeds every input to the core and executes the core's actions. It decides nothing
//! itself.

use std::sync::Arc;
use std::time::Duration;

use fedecks_device_core::{
    Action, Attempt, Connection, Event, KeepError, KeepId, LoggedIn, LoginError, LoginId, LogoutId,
    NewKept, Notice, SendError, SendId, Settled, State, Time,
};
use fedecks_protocol::{DeviceId, SkipReason};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use crate::clock::{Alarm, BootClock};
use crate::command::{Command, Outbound};
use crate::deliveries::Dispatcher;
use crate::dial::Target;
use crate::events::Publisher;
use crate::kept::{Kept, Outcomes};
use crate::link::{Link, LinkEvent};
use crate::log_events::{self, EventLog};
use crate::requests::{self, Asked};
use crate::status::Status;
use crate::store_jobs::{StoreJobs, StoreResult};
use crate::tls::TrustedTime;
use crate::traffic::TrafficCounters;
use crate::watchdog::Watchdog;

pub(crate) struct Driver {
    pub(crate) executor: Executor,
    pub(crate) alarm: Alarm,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) messages: mpsc::Receiver<Outbound>,
    pub(crate) requests: mpsc::UnboundedReceiver<requests::Command>,
    pub(crate) watchdog: Option<Watchdog>,
}

enum Input {
    Link(Attempt, LinkEvent),
    Command(Option<Command>),
    Message(Outbound),
    Request(requests::Command),
    Store(StoreResult),
    Timeout,
}

/// How long a shutdown waits for a token that is being written and for closing handshakes.
const FINISH_DEADLINE: Duration = Duration::from_secs(5);

impl Driver {
    /// Runs until the application requests a shutdown or drops its last handle.
    pub(crate) async fn run(self) {
        let Self {
            mut executor,
            mut alarm,
            mut commands,
            mut messages,
            mut requests,
            mut watchdog,
        } = self;
        let mut finish_by = None;
        // Messages of the application have their turn between kept ones, of which there may be many.
        let mut message_first = false;
        loop {
            executor.run_actions();
            if executor.link.is_flushed() {
                if let Some(message) = message_first.then(|| messages.try_recv().ok()).flatten() {
                    executor.on_message(message);
                    executor.run_actions();
                }
                if let Some(command) = message_first.then(|| requests.try_recv().ok()).flatten() {
                    executor.asked.on_command(command, &mut executor.core);
                    executor.run_actions();
                }
                // A message that cannot be sent leaves the turn to kept ones: nothing else would wake the loop.
                if executor.link.is_flushed() {
                    executor.core.handle_writable(BootClock::now());
                    executor.run_actions();
                }
                message_first = !message_first;
            }
            if executor.core.state() == State::Closed {
                let by = *finish_by.get_or_insert_with(|| Instant::now() + FINISH_DEADLINE);
                match timeout_at(by, executor.finish()).await {
                    Ok(Some(done)) => executor.on_store(done),
                    Ok(None) => break,
                    Err(_) => break warn!("the store or the network did not finish in time"),
                }
                continue;
            }
            let now = BootClock::now();
            let feed_by = watchdog.as_mut().map(|watchdog| watchdog.on_iteration(now));
            let has_room = executor.events.has_room(now);
            let resume_by = executor.events.resume_by().filter(|_| !has_room);
            let wake_by =
                [executor.core.poll_timeout(), feed_by, resume_by].into_iter().flatten().min();
            if let Err(error) = alarm.set(wake_by) {
                return error!(%error, "cannot set the timer, the client stops");
            }
            let flushed = executor.link.is_flushed();
            let input = tokio::select! {
                (attempt, event) = executor.link.next(), if has_room => Input::Link(attempt, event),
                () = executor.events.received(), if !has_room => continue,
                command = commands.recv() => Input::Command(command),
                Some(message) = messages.recv(), if flushed => Input::Message(message),
                Some(command) = requests.recv(), if flushed => Input::Request(command),
                Some(done) = executor.store.next() => Input::Store(done),
                Some(_) = executor.closing.join_next() => continue,
                () = executor.deliveries.changed() => continue,
                fired = alarm.fired() => match fired {
                    Ok(()) => Input::Timeout,
                    Err(error) => return error!(%error, "the timer failed, the client stops"),
                },
            };
            match input {
                Input::Link(attempt, event) => executor.on_link(attempt, event),
                Input::Command(command) => {
                    executor.on_command(command.unwrap_or(Command::Shutdown))
                }
                Input::Message(message) => executor.on_message(message),
                Input::Request(command) => {
                    executor.asked.on_command(command, &mut executor.core);
                }
                Input::Store(done) => executor.on_store(done),
                Input::Timeout => executor.core.handle_timeout(BootClock::now()),
            }
        }
        let on_disk = executor.core.disk_queue().map_or(0, |disk| disk.messages);
        let kept = executor.core.queue().messages.saturating_sub(on_disk);
        if kept > 0 {
            warn!(kept, "kept messages that the cloud has not stored are lost with this process");
        }
        // Releases the data directory, and then ends the status, which a shutdown waits for.
        drop(executor);
        info!("stopped");
    }
}

/// Executes the core's actions.
pub(crate) struct Executor {
    core: Connection,
    device: DeviceId,
    event_log: EventLog,
    traffic: TrafficCounters,
    target: Arc<Target>,
    store: StoreJobs,
    trusted_time: TrustedTime,
    events: Publisher,
    asked: Asked,
    deliveries: Dispatcher,
    link: Link,
    closing: JoinSet<()>,
    /// Number of the latest request.
    last_request: u64,
    logins: Pending<LoginId, Result<LoggedIn, LoginError>>,
    logouts: Pending<LogoutId, Result<(), String>>,
    sends: Pending<SendId, Result<(), SendError>>,
    keeps: Pending<KeepId, Result<Kept, KeepError>>,
    kept: Outcomes,
    /// Dropped last: a caller that waits for that may start another client in the same directory.
    status: watch::Sender<Status>,
}

/// Requests that have not been answered yet.
type Pending<I, T> = Vec<(I, oneshot::Sender<T>)>;

impl Executor {
    pub(crate) fn new(
        core: Connection,
        device: DeviceId,
        target: Target,
        store: StoreJobs,
        trusted_time: TrustedTime,
        (events, asked, deliveries): (Publisher, Asked, Dispatcher),
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            core,
            event_log: EventLog::new(device.clone()),
            device,
            traffic: target.traffic(),
            target: Arc::new(target),
            store,
            trusted_time,
            events,
            asked,
            deliveries,
            link: Link::Idle,
            closing: JoinSet::new(),
            last_request: 0,
            logins: Vec::new(),
            logouts: Vec::new(),
            sends: Vec::new(),
            keeps: Vec::new(),
            kept: Outcomes::default(),
            status,
        }
    }

    fn on_link(&mut self, attempt: Attempt, event: LinkEvent) {
        let now = BootClock::now();
        match event {
            LinkEvent::Phase(phase) => self.core.handle_phase(now, attempt, phase),
            LinkEvent::Dialed(result) => self.core.handle_dialed(now, attempt, result),
            LinkEvent::Binary(bytes) => self.core.handle_message(now, attempt, &bytes),
            LinkEvent::Text(size) => self.core.handle_text(now, attempt, size),
            LinkEvent::Pong => self.core.handle_pong(now, attempt),
            LinkEvent::Progress => self.core.handle_progress(now, attempt),
            LinkEvent::Ping => self.core.handle_traffic(now, attempt),
            // The next iteration may take a message from the queue.
            LinkEvent::Flushed => {}
            LinkEvent::Lost(reason) => self.core.handle_lost(now, attempt, reason),
        }
    }

    fn on_command(&mut self, command: Command) {
        self.last_request += 1;
        match command {
            Command::Login { credentials, reply } => {
                let login = LoginId(self.last_request);
                self.logins.push((login, reply));
                self.core.handle_login(BootClock::now(), login, credentials);
            }
            Command::Logout { reply } => {
                let logout = LogoutId(self.last_request);
                self.logouts.push((logout, reply));
                self.core.handle_logout(logout);
            }
            Command::Reconnect { reply } => {
                let _ = reply.send(self.core.handle_reconnect(BootClock::now()));
            }
            Command::Keep { kept, reply, _share } => {
                let kept = NewKept { sent_at_ms: self.trusted_time.plausible_ms(), ..kept };
                let id = KeepId(self.last_request);
                self.keeps.push((id, reply));
                self.core.handle_keep(BootClock::now(), id, kept);
            }
            Command::Network(network) => self.core.handle_network(BootClock::now(), network),
            Command::Shutdown => self.core.handle_shutdown(),
        }
    }

    fn on_message(&mut self, outbound: Outbound) {
        let Outbound { frame, confirm, reply, share: _share } = outbound;
        self.last_request += 1;
        let send = SendId(self.last_request);
        self.sends.push((send, reply));
        self.core.handle_send(BootClock::now(), send, &frame, confirm);
    }

    fn on_store(&mut self, done: StoreResult) {
        match done {
            StoreResult::Loaded(result) => {
                self.note_store_error(result.as_ref().err());
                self.core.handle_loaded(BootClock::now(), result);
            }
            StoreResult::Stored(result) => {
                self.note_store_error(result.as_ref().err());
                self.core.handle_stored(BootClock::now(), result);
            }
            StoreResult::Nonce(login, nonce) => {
                self.core.handle_nonce(BootClock::now(), login, nonce);
            }
            StoreResult::Queue(done) => self.core.handle_queue(BootClock::now(), done),
            StoreResult::TimeObserved => {}
        }
    }

    fn run_actions(&mut self) {
        self.deliveries.settle(&self.events, &mut self.core);
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::LoadToken => self.store.load_token(self.trusted_time.clone()),
                Action::Queue(job) => self.store.run_queue(job, self.trusted_time.plausible_ms()),
                Action::StoreToken(token) => self.store.save_token(token),
                Action::LoadNonce { login } => self.store.load_nonce(login),
                Action::ForgetNonce => self.store.forget_nonce(),
                Action::ForgetToken => self.store.forget_token(),
                Action::TrustTime { server_time_ms } => {
                    if let Some(peer) = self.link.peer() {
                        self.store.trust_time(self.trusted_time.clone(), peer, server_time_ms);
                    }
                }
                Action::Dial { attempt, header } => {
                    let target = Arc::clone(&self.target);
                    self.link = Link::dial(attempt, target, header.expose().to_owned());
                }
                Action::Transmit { attempt, message, send } => {
                    let taken = self.link.attempt() == Some(attempt)
                        && self.link.transmit(message, &self.device);
                    if let Some(send) = send {
                        self.core.handle_transmitted(send, taken);
                    }
                }
                Action::Disconnect { attempt, code } => {
                    if self.link.attempt() == Some(attempt) {
                        if let Some(close) = self.link.disconnect(code) {
                            self.closing.spawn(close);
                        }
                    }
                }
                Action::AnswerLogin { login, result } => {
                    log_events::login(&result);
                    reply(&mut self.logins, login, result);
                }
                Action::AnswerLogout { logout, result } => {
                    let logouts = std::mem::take(&mut self.logouts).into_iter();
                    let (answered, waiting): (Vec<_>, _) = logouts.partition(|it| it.0 <= logout);
                    self.logouts = waiting;
                    for (_, reply) in answered {
                        // The caller may have dropped its future.
                        let _ = reply.send(result.clone());
                    }
                }
                Action::AnswerSend { send, result } => {
                    if result.is_ok() {
                        self.traffic.message_sent();
                    }
                    reply(&mut self.sends, send, result);
                }
                Action::AnswerKeep { id, result } => {
                    reply(&mut self.keeps, id, result.map(|tag| self.kept.keep(tag)));
                }
                Action::Settle { tag, settled } => {
                    log_events::settled(tag, settled);
                    if settled == Settled::Delivered {
                        self.traffic.message_sent();
                    }
                    self.kept.settle(tag, settled);
                }
                Action::Emit(event) => {
                    self.event_log.event(&event);
                    if matches!(event, Event::Message(_) | Event::RawMessage(_)) {
                        self.traffic.message_received();
                    }
                    self.update_status(|status, now| status.on_event(now, &event));
                    self.events.publish(event);
                }
                Action::Deliver(message) => {
                    log_events::message(&message);
                    self.traffic.message_received();
                    self.events.publish_message(message);
                }
                action @ (Action::DeliverKept(_) | Action::StorePositions(_)) => {
                    self.deliveries.on_action(action)
                }
                action @ (Action::AnswerRequest { .. }
                | Action::DeliverRequest { .. }
                | Action::CancelRequest { .. }) => self.asked.on_action(action, &mut self.core),
                Action::Log(notice) => {
                    log_events::notice(&notice);
                    if matches!(notice, Notice::OtherCloud { .. }) {
                        self.kept.settle_all(Settled::Voided(SkipReason::OtherCloud));
                    }
                }
            }
        }
        self.update_status(|_, _| {});
    }

    fn note_store_error(&mut self, error: Option<&String>) {
        self.update_status(|status, _| status.store_error = error.cloned());
    }

    /// Updates the status from the core and by `change`, and publishes it if it differs.
    fn update_status(&mut self, change: impl FnOnce(&mut Status, Time)) {
        let (core, now) = (&self.core, BootClock::now());
        self.status.send_if_modified(|known| {
            let before = known.clone();
            known.update(core, now);
            change(known, now);
            *known != before
        });
    }

    /// Waits for the next store job, whose result may make the core start another one, and then for
    /// closing handshakes. `None` when nothing is left to wait for.
    async fn finish(&mut self) -> Option<StoreResult> {
        if let Some(done) = self.store.next().await {
            return Some(done);
        }
        while self.closing.join_next().await.is_some() {}
        None
    }
}

fn reply<I: PartialEq, T>(pending: &mut Pending<I, T>, id: I, result: T) {
    if let Some(index) = pending.iter().position(|(it, _)| *it == id) {
        // The caller may have dropped its future.
        let _ = pending.swap_remove(index).1.send(result);
    }
}
