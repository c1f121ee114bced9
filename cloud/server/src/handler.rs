//! The server's handler: devices log in by accounts, and what happens to them is counted and recorded
//! as events.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use fedecks_cloud::accounts::AccountHandler;
use fedecks_cloud::auth::CertificateLogin;
use fedecks_cloud::messaging::{
    Effects, KeptContent, KeptMessage, KeptOutcome, Presence, SettledMessage,
};
use fedecks_cloud::session::{Disconnected, SessionError};
use fedecks_cloud::{
    Decision, Denylist, DeviceId, Handler, Login, Message, Outcome, Session, Term,
};
use fedecks_common::RateLimit;
use fedecks_protocol::{CloseCode, Refusal};
use fedecks_store::{Actor, AuditAction, Effects as StoredEffects, NewLogged, RegisteredBy};
use parking_lot::Mutex;

use crate::audit_trail::AuditTrail;
use crate::events::{Event, EventLog, EventPayload, Kept};
use crate::metrics::{DeviceCounters, DeviceMessageCounters};
use crate::registrations::RegistrationRecorder;
use crate::webhooks::KeptEvents;

/// Logs devices in by accounts and records what happens to them.
pub(crate) struct RecordingHandler {
    accounts: AccountHandler,
    events: EventLog,
    counters: DeviceCounters,
    messages: DeviceMessageCounters,
    audit_trail: AuditTrail,
    denylist: Denylist,
    registrations: RegistrationRecorder,
    webhooks: KeptEvents,
    /// The state of the rate limit for recorded refusals.
    refusals: Mutex<Instant>,
}

/// How many refusals are recorded per second; the rest are only counted. Anyone can be refused at any
/// rate, which must not push the devices' events out of the log.
const REFUSALS_PER_SECOND: u32 = 20;

impl RecordingHandler {
    pub(crate) fn new(
        accounts: AccountHandler,
        denylist: Denylist,
        webhooks: KeptEvents,
        (counters, messages): (DeviceCounters, DeviceMessageCounters),
        (events, audit_trail, registrations): (EventLog, AuditTrail, RegistrationRecorder),
    ) -> Self {
        let refusals = Mutex::new(Instant::now());
        Self {
            accounts,
            events,
            counters,
            messages,
            audit_trail,
            denylist,
            registrations,
            webhooks,
            refusals,
        }
    }

    fn record(&self, device: &DeviceId, payload: EventPayload) {
        self.events.record(Event::now(device, payload));
    }

    fn record_disconnect(&self, presence: &Presence, reason: String) {
        let connection = presence.connection;
        self.record(&presence.device, EventPayload::Disconnected { connection, reason });
    }

    /// Takes a token of the rate limit for recorded refusals, if there is one.
    fn may_record_refusal(&self) -> bool {
        let (now, mut full_at) = (Instant::now(), self.refusals.lock());
        let limit = RateLimit::per_second(REFUSALS_PER_SECOND, REFUSALS_PER_SECOND)
            .filter(|limit| limit.blocked_until(*full_at, now).is_none());
        limit.inspect(|limit| limit.take(&mut *full_at, now)).is_some()
    }
}

impl Handler for RecordingHandler {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        let decision = self.accounts.authenticate(login).await;
        // What registers it is audited by the store.
        let certificate = login.certificate.filter(|_| {
            decision == Decision::Accept
                && login.is_certificate_alone()
                && !self.denylist.is_blocked(login.device)
        });
        if let Some(CertificateLogin { certificate, .. }) = certificate {
            let by = RegisteredBy::Certificate { key: certificate.key };
            let by = Actor::registrant(&by);
            let by = login.peer.into_iter().fold(by, |by, peer| by.from_address(peer.ip()));
            self.audit_trail.add(by, AuditAction::LoggedIn, Some(login.device.clone()), None);
        }
        decision
    }

    async fn on_connect(&self, session: &Session) {
        self.counters.connects.inc();
        let by = session.authenticated_by().as_str();
        let (connection, peer) = (session.connection(), session.peer());
        self.record(session.device(), EventPayload::Connected { connection, peer, by });
        self.accounts.keep_certificate(session);
    }

    async fn on_message(&self, session: &Session, message: Term) -> Outcome {
        self.counters.messages.inc();
        self.record(session.device(), EventPayload::Message(Message::from(message)));
        Outcome::Ok
    }

    async fn on_kept(&self, session: &Session, message: KeptMessage) -> KeptOutcome {
        let KeptMessage { id, stream, sequence, lane, redelivered, sent_at, content, .. } = message;
        let kept = Kept { id, lane, redelivered, sent_at };
        let payload = match content {
            KeptContent::Term(term) => EventPayload::KeptMessage(kept, Message::from(term)),
            KeptContent::Raw(bytes) => EventPayload::KeptRawMessage(kept, Bytes::from(bytes)),
            _ => return KeptOutcome::Rejected { reason: "an unknown kind of content".to_owned() },
        };
        let event = Event::now(session.device(), payload);
        // The same for a message that comes again.
        let event_id = format!("{stream}-{sequence}");
        let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = since(event.at).as_secs();
        let enqueue = self.webhooks.enqueue(&event, &event_id, at);
        let sent_at_ms = sent_at.map(|at| u64::try_from(since(at).as_millis()).unwrap_or(u64::MAX));
        let log = event.logged().map(|content| NewLogged { redelivered, sent_at_ms, at, content });
        let (events, webhooks) = (self.events.clone(), self.webhooks.clone());
        let messages = self.counters.messages.clone();
        let effects = Effects::new(StoredEffects { log, enqueue });
        effects
            .then(move || {
                messages.inc();
                events.record(event);
                webhooks.stored();
            })
            .into()
    }

    fn on_settled(&self, device: &DeviceId, settled: &[SettledMessage]) {
        for SettledMessage { id, state, .. } in settled {
            self.messages.count_settled(state.as_str());
            self.record(device, EventPayload::MessageSettled { id: *id, state: *state });
        }
    }

    async fn on_raw(&self, session: &Session, bytes: Vec<u8>) -> Outcome {
        self.counters.messages.inc();
        self.record(session.device(), EventPayload::RawMessage(Bytes::from(bytes)));
        Outcome::Ok
    }

    fn on_error(&self, presence: &Presence, error: &SessionError) {
        self.record_disconnect(presence, error.to_string());
    }

    fn on_disconnect(&self, presence: &Presence, why: &Disconnected) {
        self.counters.disconnects.inc();
        match why {
            // The newer connection is recorded, and the device is not gone.
            Disconnected::ByCloud(reason) if reason.code == CloseCode::Replaced => {}
            // Already recorded by `on_error`.
            Disconnected::ByError => {}
            Disconnected::ByDevice(_) | Disconnected::ByCloud(_) | Disconnected::Abandoned | _ => {
                self.record_disconnect(presence, why.to_string());
            }
        }
    }

    fn on_refused(&self, device: Option<&DeviceId>, refusal: Refusal, peer: Option<SocketAddr>) {
        self.counters.count_refusal(refusal);
        let by = device.and_then(|device| self.registrations.refused_by(device, refusal));
        if self.may_record_refusal() {
            let by = by.map(|by| by.to_string());
            let payload = EventPayload::Refused { reason: refusal.reason(), peer, by };
            let at = SystemTime::now();
            self.events.record(Event { at, device: device.cloned(), payload });
        }
    }
}
