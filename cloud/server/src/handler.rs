//! The server's handler of devices: logs them in by accounts and records what happens.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedecks_cloud::accounts::AccountHandler;
use fedecks_cloud::auth::AuthenticatedBy;
use fedecks_cloud::messaging::Presence;
use fedecks_cloud::session::{Disconnected, SessionError};
use fedecks_cloud::{Decision, DeviceId, Handler, Login, Message, Outcome, Session, Term};
use fedecks_protocol::{CloseCode, Refusal};

use crate::events::{Event, EventLog, Happened};
use crate::metrics::Counters;

/// The handler of the server: devices log in by accounts, and what happens to them is recorded.
pub(crate) struct Recording {
    accounts: AccountHandler,
    events: EventLog,
    counters: Counters,
    refusals: PerSecond,
}

/// How many refusals are recorded in a second; those beyond are counted only. Anybody can be refused as
/// often as he likes, and what devices say has to stay in the event log.
const REFUSALS_RECORDED: u32 = 20;

/// Lets so many through in each second.
#[derive(Default)]
struct PerSecond(Mutex<(Option<Instant>, u32)>);

impl PerSecond {
    fn one_more(&self) -> bool {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, count) = &mut *state;
        if began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            (*began, *count) = (Some(now), 0);
        }
        *count = count.saturating_add(1);
        *count <= REFUSALS_RECORDED
    }
}

impl Recording {
    pub(crate) fn new(accounts: AccountHandler, events: EventLog, counters: Counters) -> Self {
        Self { accounts, events, counters, refusals: PerSecond::default() }
    }

    fn record(&self, device: &DeviceId, happened: Happened) {
        self.events.record(Event::now(device, happened));
    }

    fn left(&self, presence: &Presence, reason: String) {
        let connection = presence.connection.to_string();
        self.record(&presence.device, Happened::Disconnected { connection, reason });
    }
}

impl Handler for Recording {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        self.accounts.authenticate(login).await
    }

    async fn connected(&self, session: &Session) {
        self.counters.connects.inc();
        let by = match session.authenticated_by() {
            AuthenticatedBy::Credentials => "credentials",
            AuthenticatedBy::Token { .. } => "token",
        };
        let (connection, peer) = (session.connection().to_string(), session.peer());
        self.record(session.device(), Happened::Connected { connection, peer, by });
    }

    async fn handle_in(&self, session: &Session, message: Term) -> Outcome {
        self.counters.messages.inc();
        self.record(session.device(), Happened::Message(Message::from(message)));
        Outcome::Ok
    }

    async fn handle_raw_in(&self, session: &Session, bytes: Vec<u8>) -> Outcome {
        self.counters.messages.inc();
        self.record(session.device(), Happened::RawMessage(Bytes::from(bytes)));
        Outcome::Ok
    }

    fn socket_error(&self, presence: &Presence, error: &SessionError) {
        self.left(presence, error.to_string());
    }

    fn disconnected(&self, presence: &Presence, why: &Disconnected) {
        self.counters.disconnects.inc();
        let reason = match why {
            // The newer connection was told of, and the device is not gone.
            Disconnected::ByCloud(reason) if reason.code == CloseCode::Replaced => return,
            Disconnected::ByDevice(reason) => {
                format!("the device closed the connection with code {}", reason.code.code())
            }
            Disconnected::ByCloud(reason) => {
                format!("the cloud closed the connection with code {}", reason.code.code())
            }
            // Told by its error.
            Disconnected::ByError => return,
            Disconnected::Abandoned => "the server ended".to_owned(),
        };
        self.left(presence, reason);
    }

    fn refused(&self, device: Option<&DeviceId>, refusal: Refusal, peer: Option<SocketAddr>) {
        self.counters.refused(refusal);
        if !self.refusals.one_more() {
            return;
        }
        let happened = Happened::Refused { reason: refusal.reason(), peer };
        let at = std::time::SystemTime::now();
        self.events.record(Event { at, device: device.cloned(), happened });
    }
}
