//! Records changes that were refused or failed in the audit log.

use fedecks_cloud::DeviceId;
use fedecks_store::{Actor, AuditAction, Role};

use super::route::Route;
use super::table::Matched;
use crate::audit_trail::AuditTrail;
use crate::http::caller::Caller;
use crate::http::problem::Code;

/// What will be recorded of a request if it is refused.
pub(super) struct Refusal {
    by: Actor,
    route: &'static Route,
    /// The value of the first parameter in the path.
    target: Option<String>,
}

impl Refusal {
    pub(super) fn of(caller: &Caller, Matched { route, values }: &Matched) -> Self {
        Self { by: caller.actor(), route, target: values.first().cloned() }
    }

    pub(super) fn audit(self, to: &AuditTrail, code: Code) {
        let Self { by, route, target } = self;
        let is_change = match route.role {
            Some(Role::Read) | None => false,
            // That a message cannot be delivered is not an attempt to change something.
            Some(Role::Send) => code == Code::RoleMissing,
            Some(_) => !route.method.is_safe(),
        };
        if !is_change {
            return;
        }
        let status = code.status().as_u16();
        let answer = format!("{} {}: {status} {}", route.method, route.path, code.as_str());
        let device = target.as_deref().and_then(|id| DeviceId::new(id).ok());
        let (device, detail) = match target {
            Some(_) if route.path.starts_with("/devices/") => (device, answer),
            Some(other) => (None, format!("{answer}, {other:?}")),
            None => (None, answer),
        };
        to.add(by, AuditAction::ChangeRefused, device, Some(detail));
    }
}
