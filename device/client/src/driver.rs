//! The one loop: brings everything that happens to the core, carries out what the core says, and
//! decides nothing.

use std::sync::Arc;
use std::time::Duration;

use fedecks_device_core::{
    Action, Attempt, Connection, Event, LoggedIn, LoginError, LoginId, LogoutId, Network,
    NotRegistered, SendError, SendId, State, Time,
};
use fedecks_protocol::{Credentials, DeviceId, IssuedToken, UpFrame};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use crate::clock::{Alarm, BootClock};
use crate::dial::Target;
use crate::link::{Link, LinkEvent};
use crate::log_events;
use crate::status::Status;
use crate::storage::TokenStore;
use crate::subscription::Publisher;
use crate::tls::TrustedTime;
use crate::traffic::Meter;

/// What the application asks for.
pub(crate) enum Command {
    Login { credentials: Credentials, answer: oneshot::Sender<Result<LoggedIn, LoginError>> },
    Logout { answer: LogoutAnswer },
    Reconnect { answer: oneshot::Sender<Result<(), NotRegistered>> },
    Network(Network),
    Shutdown,
}

/// The token is gone from the disk, or why it is not yet.
type LogoutAnswer = oneshot::Sender<Result<(), String>>;

/// What the application wants to send. It has a queue of its own, since it waits for what was sent
/// before it, and no command shall wait for that.
pub(crate) struct Outbound {
    pub(crate) frame: UpFrame,
    pub(crate) answer: oneshot::Sender<Result<(), SendError>>,
}

/// Called by the loop at least once in an interval, to show that it goes round.
pub(crate) struct Watchdog {
    pub(crate) interval: Duration,
    pub(crate) pat: Box<dyn FnMut() + Send>,
}

impl Watchdog {
    /// Pats if half the interval is over since the last time; so a loop that turns often enough
    /// anyway is never woken for this. Gives when it must turn at the latest.
    fn on_turn(&mut self, now: Time, last: &mut Option<Time>) -> Time {
        let due = last.is_none_or(|last| now - last >= self.interval / 2);
        if due {
            (self.pat)();
            *last = Some(now);
        }
        last.unwrap_or(now) + self.interval
    }
}

pub(crate) struct Driver {
    pub(crate) core: Connection,
    pub(crate) device: DeviceId,
    pub(crate) meter: Meter,
    pub(crate) target: Arc<Target>,
    pub(crate) store: Arc<TokenStore>,
    pub(crate) trusted_time: TrustedTime,
    pub(crate) alarm: Alarm,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) messages: mpsc::Receiver<Outbound>,
    pub(crate) events: Publisher,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) watchdog: Option<Watchdog>,
}

/// What the store was asked to do, and how it ended.
enum StoreDone {
    Loaded(Result<Option<IssuedToken>, String>),
    Stored(Result<(), String>),
    /// The trusted time was looked after; that concerns nobody here.
    TimeObserved,
}

enum Input {
    Link(Attempt, LinkEvent),
    Command(Option<Command>),
    Message(Outbound),
    Store(StoreDone),
    Timeout,
}

/// How long the end of the program waits for a token that is being written and for closes.
const FINISH_DEADLINE: Duration = Duration::from_secs(5);

impl Driver {
    /// Runs until the application has gone or asks for the end.
    pub(crate) async fn run(self) {
        let mut watchdog = self.watchdog;
        let mut patted = None;
        let mut commands = self.commands;
        let mut messages = self.messages;
        let mut alarm = self.alarm;
        let mut hands = Hands {
            core: self.core,
            device: self.device,
            meter: self.meter,
            target: self.target,
            store: self.store,
            trusted_time: self.trusted_time,
            events: self.events,
            status: self.status,
            link: Link::Idle,
            store_jobs: JoinSet::new(),
            closing: JoinSet::new(),
            asked: 0,
            logins: Vec::new(),
            logouts: Vec::new(),
            sends: Vec::new(),
        };
        let mut finish_by = None;
        loop {
            hands.carry_out();
            if hands.core.state() == State::Closed {
                let by = *finish_by.get_or_insert_with(|| Instant::now() + FINISH_DEADLINE);
                match timeout_at(by, hands.finish()).await {
                    Ok(Some(done)) => hands.on_store(done),
                    Ok(None) => break,
                    Err(_) => break warn!("the store or the network did not finish in time"),
                }
                continue;
            }
            let now = BootClock::now();
            let pat_by = watchdog.as_mut().map(|it| it.on_turn(now, &mut patted));
            let has_room = hands.events.has_room(now);
            let room_by = hands.events.room_by().filter(|_| !has_room);
            let wake_by = [hands.core.poll_timeout(), pat_by, room_by].into_iter().flatten().min();
            if let Err(error) = alarm.set(wake_by) {
                return error!(%error, "the timer cannot be set, the connection ends");
            }
            let flushed = hands.link.is_flushed();
            let input = tokio::select! {
                (attempt, event) = hands.link.next(), if has_room => Input::Link(attempt, event),
                () = hands.events.taken(), if !has_room => continue,
                command = commands.recv() => Input::Command(command),
                Some(message) = messages.recv(), if flushed => Input::Message(message),
                Some(done) = hands.store_jobs.join_next() => Input::Store(unwind(done)),
                Some(_) = hands.closing.join_next() => continue,
                fired = alarm.fired() => match fired {
                    Ok(()) => Input::Timeout,
                    Err(error) => return error!(%error, "the timer fails, the connection ends"),
                },
            };
            match input {
                Input::Link(attempt, event) => hands.on_link(attempt, event),
                Input::Command(command) => hands.on_command(command.unwrap_or(Command::Shutdown)),
                Input::Message(message) => hands.on_message(message),
                Input::Store(done) => hands.on_store(done),
                Input::Timeout => hands.core.handle_timeout(BootClock::now()),
            }
        }
        info!("stopped");
    }
}

/// Everything that the core's actions reach.
struct Hands {
    core: Connection,
    device: DeviceId,
    meter: Meter,
    target: Arc<Target>,
    store: Arc<TokenStore>,
    trusted_time: TrustedTime,
    events: Publisher,
    status: watch::Sender<Status>,
    link: Link,
    store_jobs: JoinSet<StoreDone>,
    closing: JoinSet<()>,
    /// Number of the latest request.
    asked: u64,
    logins: Asked<LoginId, Result<LoggedIn, LoginError>>,
    logouts: Asked<LogoutId, Result<(), String>>,
    sends: Asked<SendId, Result<(), SendError>>,
}

/// Who waits for an answer, by what it was asked for.
type Asked<I, T> = Vec<(I, oneshot::Sender<T>)>;

impl Hands {
    fn on_link(&mut self, attempt: Attempt, event: LinkEvent) {
        let now = BootClock::now();
        match event {
            LinkEvent::Phase(phase) => self.core.handle_phase(now, attempt, phase),
            LinkEvent::Dialed(result) => self.core.handle_dialed(now, attempt, result),
            LinkEvent::Binary(bytes) => self.core.handle_message(now, attempt, &bytes),
            LinkEvent::Text(size) => self.core.handle_text(now, attempt, size),
            LinkEvent::Pong => self.core.handle_pong(now, attempt),
            LinkEvent::Traffic => self.core.handle_traffic(now, attempt),
            // The loop looks anew whether a message may be taken.
            LinkEvent::Flushed => {}
            LinkEvent::Lost(reason) => self.core.handle_lost(now, attempt, reason),
        }
    }

    fn on_command(&mut self, command: Command) {
        self.asked += 1;
        match command {
            Command::Login { credentials, answer } => {
                let login = LoginId(self.asked);
                self.logins.push((login, answer));
                self.core.handle_login(BootClock::now(), login, credentials);
            }
            Command::Logout { answer } => {
                let logout = LogoutId(self.asked);
                self.logouts.push((logout, answer));
                self.core.handle_logout(logout);
            }
            Command::Reconnect { answer } => {
                let _ = answer.send(self.core.handle_reconnect(BootClock::now()));
            }
            Command::Network(network) => self.core.handle_network(BootClock::now(), network),
            Command::Shutdown => self.core.handle_shutdown(),
        }
    }

    fn on_message(&mut self, Outbound { frame, answer }: Outbound) {
        self.asked += 1;
        let send = SendId(self.asked);
        self.sends.push((send, answer));
        self.core.handle_send(BootClock::now(), send, &frame);
    }

    fn on_store(&mut self, done: StoreDone) {
        match done {
            StoreDone::Loaded(result) => {
                self.store_worked(result.as_ref().err());
                self.core.handle_loaded(BootClock::now(), result);
            }
            StoreDone::Stored(result) => {
                self.store_worked(result.as_ref().err());
                self.core.handle_stored(BootClock::now(), result);
            }
            StoreDone::TimeObserved => {}
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::LoadToken => {
                    let trusted_time = self.trusted_time.clone();
                    self.store_job(move |store| {
                        // The time comes first: the token is no use without a certificate that holds.
                        if let Err(error) = trusted_time.load() {
                            warn!(%error, "the trusted time was not read");
                        }
                        StoreDone::Loaded(store.load().map_err(text))
                    });
                }
                Action::StoreToken(token) => {
                    self.store_job(move |store| StoreDone::Stored(store.save(&token).map_err(text)))
                }
                Action::ForgetToken => {
                    self.store_job(|store| StoreDone::Stored(store.forget().map_err(text)));
                }
                Action::TrustTime { server_time_ms } => self.trust_time(server_time_ms),
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
                    answer(&mut self.logins, login, result);
                }
                Action::AnswerLogout { logout, result } => {
                    answer(&mut self.logouts, logout, result);
                }
                Action::AnswerSend { send, result } => {
                    if result.is_ok() {
                        self.meter.message_sent();
                    }
                    answer(&mut self.sends, send, result);
                }
                Action::Emit(event) => {
                    log_events::event(&event);
                    self.note(&event);
                    self.events.publish(event);
                }
                Action::Log(notice) => log_events::notice(&notice),
            }
        }
        self.update_status();
    }

    fn store_job(&mut self, job: impl FnOnce(&TokenStore) -> StoreDone + Send + 'static) {
        let store = Arc::clone(&self.store);
        self.store_jobs.spawn_blocking(move || job(&store));
    }

    fn trust_time(&mut self, server_time_ms: u64) {
        let Some(peer) = self.link.peer() else { return };
        let trusted_time = self.trusted_time.clone();
        self.store_jobs.spawn_blocking(move || {
            if trusted_time.observe(server_time_ms, |claimed| peer.latest_valid(claimed)) {
                if let Err(error) = trusted_time.persist() {
                    warn!(%error, "the trusted time is not on disk");
                }
            }
            StoreDone::TimeObserved
        });
    }

    fn note(&mut self, event: &Event) {
        if matches!(event, Event::Message(_) | Event::RawMessage(_)) {
            self.meter.message_received();
        }
        self.change_status(|status, now| status.on_event(now, event));
    }

    fn store_worked(&mut self, error: Option<&String>) {
        self.change_status(|status, _| status.store_error = error.cloned());
    }

    fn update_status(&mut self) {
        self.change_status(|_, _| {});
    }

    /// Brings the status up to what the core says, and to this; tells of it if it is not the same.
    fn change_status(&mut self, change: impl FnOnce(&mut Status, Time)) {
        let (core, now) = (&self.core, BootClock::now());
        self.status.send_if_modified(|known| {
            let before = known.clone();
            known.update(core, now);
            change(known, now);
            *known != before
        });
    }

    /// Waits for a token that is being written, which may call for another order to the store, and for
    /// closes that are under way; none when all have come to their end.
    async fn finish(&mut self) -> Option<StoreDone> {
        if let Some(done) = self.store_jobs.join_next().await {
            return Some(unwind(done));
        }
        while self.closing.join_next().await.is_some() {}
        None
    }
}

fn answer<I: PartialEq, T>(asked: &mut Asked<I, T>, id: I, result: T) {
    if let Some(index) = asked.iter().position(|(it, _)| *it == id) {
        // Who asked may have gone.
        let _ = asked.swap_remove(index).1.send(result);
    }
}

/// A job that panicked has met a bug: the panic goes on here, and ends the loop where all see it.
fn unwind(done: Result<StoreDone, JoinError>) -> StoreDone {
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
