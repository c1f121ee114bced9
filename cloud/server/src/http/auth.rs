//! Who calls the API, and what that caller may do.

use std::net::IpAddr;
use std::sync::Arc;

use fedecks_cloud::DeviceId;
use fedecks_store::{Actor, ApiToken, Role};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};

use super::dashboard::sessions::SignedIn;
use super::problem::{Code, Problem};
use crate::state::AppState;

/// Who calls: by an API token that was presented, or by the session of the dashboard that stands for
/// one.
#[derive(Clone)]
pub(crate) struct Caller {
    token: Arc<ApiToken>,
    session: Option<[u8; 32]>,
}

impl Caller {
    /// Looks at the headers of a request. A wrong token counts against the address.
    pub(crate) fn of(
        state: &AppState,
        method: &Method,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<Self, Problem> {
        let missing = || Problem::unauthorized("expected the header `Authorization: Bearer TOKEN`");
        let Some(value) = headers.get(AUTHORIZATION) else {
            let signed_in = state.sessions.find(headers).ok_or_else(missing)?;
            signed_in.check(method, headers)?;
            let SignedIn { token, id, .. } = signed_in;
            return Ok(Self { token, session: Some(id) });
        };
        let value = value.to_str().map_err(|_| missing())?;
        let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing());
        }
        // Nobody guesses 256 bits, so a right one is never held up by what others do.
        if let Some(token) = state.tokens.find(token.trim()) {
            return Ok(Self { token, session: None });
        }
        state.failed_logins.attempt(address, None)?.failed();
        Err(Problem::unauthorized("the API token is unknown, revoked or expired"))
    }

    pub(crate) fn name(&self) -> &str {
        &self.token.name
    }

    /// As the audit log knows it.
    pub(crate) fn actor(&self) -> Actor {
        Actor::token(&self.token.name)
    }

    pub(crate) fn token(&self) -> &ApiToken {
        &self.token
    }

    /// Whether whoever called could still do so, for what goes on after the answer has begun.
    pub(crate) fn still_allowed(
        &self,
        state: &AppState,
    ) -> impl Fn() -> bool + Send + 'static + use<> {
        let (tokens, token) = (state.tokens.clone(), self.token.clone());
        let (sessions, session) = (state.sessions.clone(), self.session);
        move || match &session {
            Some(id) => sessions.is_good(id),
            // The very token, and not another one of its name.
            None => tokens.get(&token.name).is_some_and(|now| now.hash == token.hash),
        }
    }

    pub(crate) fn needs(&self, role: Role) -> Result<(), Problem> {
        if self.token.roles.contains(role) { Ok(()) } else { Err(Problem::role_missing(role)) }
    }

    /// For what is no matter of single devices.
    pub(crate) fn needs_all_devices(&self) -> Result<(), Problem> {
        match &self.token.devices {
            None => Ok(()),
            Some(_) => Err(Problem::new(
                Code::LimitedToDevices,
                "expected a token that is not limited to some devices",
            )),
        }
    }

    pub(crate) fn sees(&self, device: &DeviceId) -> bool {
        self.token.devices.as_ref().is_none_or(|pattern| pattern.matches(device))
    }
}
