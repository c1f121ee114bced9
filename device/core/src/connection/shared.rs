//! What outlives a state: every state is handed it with each input.

use std::time::Duration;

use fedecks_protocol::{AuthError, CloseCode, DownFrame, Proof};

use super::login::Logins;
use super::output::Output;
use super::token_store::TokenStore;
use crate::action::{Action, AuthHeader, Notice};
use crate::attempt::Attempt;
use crate::backoff::JitteredBackoff;
use crate::config::Config;
use crate::event::{Event, LostReason};
use crate::watch::Network;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// The newest one; the link is its link.
    pub(super) attempt: Attempt,
    pub(super) backoff: JitteredBackoff,
    pub(super) network: Option<Network>,
    pub(super) round_trip: Option<Duration>,
    pub(super) tokens: TokenStore,
    pub(super) logins: Logins,
    pub(super) out: Output,
}

impl Shared {
    pub(super) fn new(config: Config, seed: u64) -> Self {
        let mut out = Output::default();
        Self {
            backoff: JitteredBackoff::new(&config, seed),
            config,
            attempt: Attempt(0),
            network: None,
            round_trip: None,
            tokens: TokenStore::new(&mut out),
            logins: Logins::default(),
            out,
        }
    }

    /// Whether there is a login or a token to dial with.
    pub(super) fn can_dial(&self) -> bool {
        self.logins.header().is_some() || self.tokens.get().is_some()
    }

    /// What to dial with: a login comes before the token. None if there is neither.
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

    /// The frame in these bytes; what is none is logged.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Option<DownFrame> {
        self.config
            .dialect
            .decode_down(bytes, &self.config.limits)
            .map_err(|error| self.log(Notice::BadFrame { size: bytes.len(), error }))
            .ok()
    }

    /// The link is gone, as `event` tells. If the cloud closed it: what that costs, and who hears it.
    pub(super) fn link_ended(&mut self, reason: LostReason, event: fn(LostReason) -> Event) {
        let close = if let LostReason::Closed(close) = &reason { Some(close.code) } else { None };
        let replaced = match close {
            Some(CloseCode::Revoked) => {
                self.tokens.forget(&mut self.out);
                None
            }
            Some(CloseCode::Replaced) => Some(Event::Replaced),
            Some(
                CloseCode::Normal
                | CloseCode::GoingAway
                | CloseCode::ProtocolError
                | CloseCode::Policy
                | CloseCode::TooBig
                | CloseCode::InternalError
                | CloseCode::Restart
                | CloseCode::Overloaded
                | CloseCode::Blocked
                | CloseCode::Other(_),
            )
            | None => None,
        };
        self.out.emit(event(reason));
        if let Some(replaced) = replaced {
            self.out.emit(replaced);
        }
    }

    /// The cloud has answered: whoever said that there is no network does not know of this one.
    pub(super) fn clear_offline(&mut self) {
        self.network = self.network.filter(|network| *network != Network::Down);
    }

    pub(super) fn log(&mut self, notice: Notice) {
        self.out.push(Action::Log(notice));
    }
}
