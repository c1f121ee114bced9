use std::net::IpAddr;
use std::sync::Arc;

use fedecks_cloud::{Actor, ApiToken, DeviceId, Role};
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::problem::{Code, Problem};
use super::site::Site;

/// Who calls, by the API token that was presented.
#[derive(Clone)]
pub(crate) struct Caller(Arc<ApiToken>);

impl Caller {
    /// Looks at the headers of a request. A wrong token counts against the address.
    pub(crate) fn of(
        site: &Site,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<Self, Problem> {
        let missing = || Problem::unauthorized("expected the header `Authorization: Bearer TOKEN`");
        let value = headers.get(AUTHORIZATION).ok_or_else(missing)?;
        let value = value.to_str().map_err(|_| missing())?;
        let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing());
        }
        // Nobody guesses 256 bits, so a right one is never held up by what others do.
        if let Some(token) = site.tokens.find(token.trim()) {
            return Ok(Self(token));
        }
        site.failed_logins.attempt(address, None)?.failed();
        Err(Problem::unauthorized("the API token is unknown, revoked or expired"))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// As the audit log knows it.
    pub(crate) fn actor(&self) -> Actor {
        Actor::token(&self.0.name)
    }

    pub(crate) fn token(&self) -> &ApiToken {
        &self.0
    }

    pub(crate) fn needs(&self, role: Role) -> Result<(), Problem> {
        if self.0.roles.contains(role) { Ok(()) } else { Err(Problem::role_missing(role)) }
    }

    /// For what is no matter of single devices.
    pub(crate) fn needs_all_devices(&self) -> Result<(), Problem> {
        match &self.0.devices {
            None => Ok(()),
            Some(_) => Err(Problem::new(
                Code::LimitedToDevices,
                "expected a token that is not limited to some devices",
            )),
        }
    }

    pub(crate) fn sees(&self, device: &DeviceId) -> bool {
        self.0.devices.as_ref().is_none_or(|pattern| pattern.matches(device))
    }
}
