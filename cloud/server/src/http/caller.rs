//! Who calls the API, and what that caller may do.

use std::net::IpAddr;
use std::sync::Arc;

use fedecks_cloud::DeviceId;
use fedecks_cloud::auth::InvalidApiToken;
use fedecks_cloud::serve::Peer;
use fedecks_store::{Actor, ApiToken, AuditAction, DevicePattern, Role};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};

use super::browser_session;
use super::problem::{Code, Problem};
use crate::dashboard_sessions::{SessionId, SignedIn};
use crate::state::AppState;

/// An authenticated caller: by an API token, or by a dashboard session that stands for one.
#[derive(Clone)]
pub(crate) struct Caller {
    token: Arc<ApiToken>,
    session: Option<SessionId>,
    address: IpAddr,
}

impl Caller {
    /// Authenticates a request by its headers. A wrong token counts as a failed login from the address.
    pub(crate) fn authenticate(
        state: &AppState,
        method: &Method,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Self, Problem> {
        let address = peer.address.ip();
        let missing = || Problem::unauthorized("expected the header `Authorization: Bearer TOKEN`");
        let Some(value) = headers.get(AUTHORIZATION) else {
            let signed_in = browser_session::find(&state.sessions, headers, peer)?;
            let signed_in = signed_in.ok_or_else(missing)?;
            let checked = browser_session::check(&signed_in, method, headers, peer);
            let SignedIn { token, id, .. } = signed_in;
            if let Err(problem) = checked {
                // Another site may have made the browser send it.
                let by = Actor::token(&token.name).from_address(address);
                let detail = format!("{method}: 403 {}", problem.code.as_str());
                state.audit_trail.add(by, AuditAction::ChangeRefused, None, Some(detail));
                return Err(problem);
            }
            return Ok(Self { token, session: Some(id), address });
        };
        let credentials = value.to_str().ok().and_then(|value| value.split_once(' '));
        let bearer = credentials.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, token) = bearer.ok_or_else(missing)?;
        let token = find_token(state, token, address)?;
        Ok(Self { token, session: None, address })
    }

    pub(crate) fn name(&self) -> &str {
        &self.token.name
    }

    /// The name in the audit log.
    pub(crate) fn actor(&self) -> Actor {
        Actor::token(&self.token.name).from_address(self.address)
    }

    pub(crate) fn token(&self) -> &ApiToken {
        &self.token
    }

    /// The devices that the caller is limited to, if it is.
    pub(crate) fn scope(&self) -> Option<&DevicePattern> {
        self.token.devices.as_ref()
    }

    pub(crate) fn can_see(&self, device: &DeviceId) -> bool {
        self.scope().is_none_or(|pattern| pattern.matches(device))
    }

    pub(crate) fn require_role(&self, role: Role) -> Result<(), Problem> {
        let detail = format!("expected a token with the role {}", role.as_str());
        let has_role = self.token.roles.contains(role);
        if has_role { Ok(()) } else { Err(Problem::new(Code::RoleMissing, detail)) }
    }

    /// For resources that are not about single devices.
    pub(crate) fn require_all_devices(&self) -> Result<(), Problem> {
        let detail = "expected a token that is not limited to some devices";
        let all = self.scope().is_none();
        if all { Ok(()) } else { Err(Problem::new(Code::LimitedToDevices, detail)) }
    }

    /// Checks whether the token or session is still valid, for responses that outlast the request.
    pub(crate) fn validity(&self, state: &AppState) -> impl Fn() -> bool + Send + 'static + use<> {
        let (tokens, token) = (state.tokens.clone(), self.token.clone());
        let (sessions, session) = (state.sessions.clone(), self.session);
        move || match &session {
            Some(id) => sessions.is_valid(id),
            // The same token, and not a new one with its name.
            None => tokens.get(&token.name).is_ok_and(|now| now.hash == token.hash),
        }
    }
}

/// Finds an API token by its secret. A wrong one counts as a failed login of the address; the right one
/// is never delayed by that, because no one guesses 256 bits. One that has expired is not a guess,
/// and with a clock that is ahead not even wrong.
pub(super) fn find_token(
    state: &AppState,
    secret: &str,
    address: IpAddr,
) -> Result<Arc<ApiToken>, Problem> {
    let found = state.tokens.find(secret.trim());
    if found == Err(InvalidApiToken::Unknown) {
        state.failed_logins.attempt(Some(address), None)?.failed();
    }
    Ok(found?)
}
