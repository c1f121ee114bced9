//! What outlives a state. Every state gets it with each input.

use fedecks_delivery::Requests;
use fedecks_protocol::{AuthError, CloseCode, Proof, Received};

use super::confirmations::Confirmations;
use super::inbox::Inbox;
use super::login::Logins;
use super::outbox::Outbox;
use super::output::Output;
use super::round_trip::RoundTrip;
use super::token_store::TokenStore;
use crate::action::{Action, AuthHeader, Notice};
use crate::attempt::Attempt;
use crate::backoff::JitteredBackoff;
use crate::config::Config;
use crate::event::{Event, LostReason};
use crate::question::{AskId, QuestionId, RequestError};
use crate::timers::Timer;
use crate::watch::Network;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// The current attempt, or the last one.
    pub(super) attempt: Attempt,
    pub(super) backoff: JitteredBackoff,
    pub(super) network: Option<Network>,
    pub(super) round_trip: RoundTrip,
    pub(super) tokens: TokenStore,
    pub(super) logins: Logins,
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
    pub(super) confirmations: Confirmations,
    pub(super) requests: Requests,
    pub(super) out: Output,
}

impl Shared {
    pub(super) fn new(config: Config, seed: u64) -> Self {
        let mut out = Output::default();
        let tokens = TokenStore::new(&mut out);
        Self {
            backoff: JitteredBackoff::new(&config, seed),
            outbox: Outbox::new(&config, seed, &mut out),
            inbox: Inbox::new(),
            confirmations: Confirmations::default(),
            requests: Requests::default(),
            config,
            attempt: Attempt(0),
            network: None,
            round_trip: RoundTrip::default(),
            tokens,
            logins: Logins::default(),
            out,
        }
    }

    /// Whether there is a login or a token.
    pub(super) fn can_dial(&self) -> bool {
        self.logins.header().is_some() || self.tokens.get().is_some()
    }

    /// The header for the next attempt, from a login or else the token.
    pub(super) fn auth_header(&self) -> Option<Result<AuthHeader, AuthError>> {
        let by_login = self.logins.header().map(|header| Ok(header.clone()));
        by_login.or_else(|| {
            let proof = Proof::Token(self.tokens.get()?.token.clone());
            Some(AuthHeader::new(&self.config, proof))
        })
    }

    pub(super) fn disconnect(&mut self, code: CloseCode) {
        self.out.push(Action::Disconnect { attempt: self.attempt, code });
    }

    /// Decodes a frame, except the term of a message, or logs why that is impossible.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Option<Received> {
        self.config
            .dialect
            .receive_down(bytes, &self.config.limits)
            .map_err(|error| self.log(Notice::BadFrame { size: bytes.len(), error }))
            .ok()
    }

    /// A session has ended, for any reason.
    pub(super) fn session_ended(&mut self) {
        self.outbox.disconnect(&mut self.out);
        self.inbox.disconnect();
        self.confirmations.link_ended(&mut self.out);
        self.requests_ended();
    }

    /// What was asked on the link has no answer any more.
    fn requests_ended(&mut self) {
        let all = self.requests.take_all();
        for (key, _) in all.asked {
            self.out.answer_request(AskId(key), Err(RequestError::OutcomeUnknown));
        }
        for key in all.questions {
            self.out.push(Action::CancelRequest { question: QuestionId(key) });
        }
        self.out.timers.stop(Timer::Request);
    }

    /// Emits `event` for a link that ended, and applies what its close code means for the token.
    pub(super) fn link_ended(&mut self, reason: LostReason, event: fn(LostReason) -> Event) {
        let code = if let LostReason::Closed(close) = &reason { Some(close.code) } else { None };
        if code == Some(CloseCode::Revoked) {
            self.tokens.forget(&mut self.out);
        }
        self.out.emit(event(reason));
        if code == Some(CloseCode::Replaced) {
            self.out.emit(Event::Replaced);
        }
    }

    /// The cloud has responded: a report that the network is down must be wrong.
    pub(super) fn clear_offline(&mut self) {
        self.network = self.network.filter(|network| *network != Network::Down);
    }

    pub(super) fn log(&mut self, notice: Notice) {
        self.out.push(Action::Log(notice));
    }
}
