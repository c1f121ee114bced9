//! Decides whether a device is registered, from what the store knows about its id and the claim.

use std::time::Duration;

use crate::audit::{Actor, AuditAction, AuditEntry};
use crate::claim_rules::Cost;
use crate::claims::ClaimRecord;
use crate::registrations::{
    REPETITION_S, RETURN_INTERVAL_S, RegisteredBy, Registration, RegistrationNonce,
    RegistrationOutcome, RegistrationProof, RegistrationRefusal, RegistrationRequest,
};

/// What the store knows about the id of a device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// It has been registered or seen, and was not forgotten since.
    pub(crate) exists: bool,
    pub(crate) blocked: bool,
    pub(crate) generation: u64,
    pub(crate) registration: Option<Registration>,
    pub(crate) nonce: Option<RegistrationNonce>,
    pub(crate) came_by_token: bool,
    pub(crate) returned_at: Option<u64>,
    pub(crate) reregistration_until: Option<u64>,
    pub(crate) certificate_key: Option<[u8; 32]>,
    pub(crate) certificate_refused: bool,
}

/// How a device is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was already, by the same login.
    Repeated,
    /// It is registered. A claim pays this for it.
    Register(Cost),
}

impl Known {
    /// Judges a request. A claim's proof has the claim that the store knows by it; `None` if it knows none.
    pub(crate) fn judge(
        &self,
        request: &RegistrationRequest,
        claim: Option<&ClaimRecord>,
    ) -> Option<(RegisteredBy, Result<Verdict, RegistrationRefusal>)> {
        Some(match &request.proof {
            RegistrationProof::Claim(_) => {
                let claim = claim?;
                (RegisteredBy::Claim(claim.id), self.by_claim(request, claim))
            }
            RegistrationProof::Account(name) => {
                let by = RegisteredBy::Account(name.clone());
                let verdict = self.by_account(request, &by);
                (by, verdict)
            }
            RegistrationProof::Certificate { key } => {
                (RegisteredBy::Certificate { key: *key }, self.by_certificate(request, *key))
            }
        })
    }

    /// The answer to a login that is repeated.
    pub(crate) fn repeated(
        self,
        request: &RegistrationRequest,
        by: &RegisteredBy,
    ) -> RegistrationOutcome {
        let Self { generation, registration, .. } = self;
        // It is the one by which the login was recognized.
        let registration = registration.unwrap_or_else(|| provenance(request, by.clone()));
        RegistrationOutcome::Repeated { registration, generation }
    }

    /// Judges a claim that is good for some ids.
    pub(crate) fn by_claim(
        &self,
        request: &RegistrationRequest,
        claim: &ClaimRecord,
    ) -> Result<Verdict, RegistrationRefusal> {
        if claim.revoked_at.is_some() {
            return Err(RegistrationRefusal::ClaimRevoked);
        }
        if !claim.devices.matches(&request.device) {
            return Err(RegistrationRefusal::ClaimMismatch);
        }
        self.check_blocked()?;
        // Without a nonce it might be anyone who has the claim.
        if request.nonce.is_some() && self.is_repeated(request, &RegisteredBy::Claim(claim.id)) {
            return Ok(Verdict::Repeated);
        }
        if claim.expires_at.is_some_and(|at| at <= request.at) {
            return Err(RegistrationRefusal::ClaimExpired);
        }
        if self.exists && self.is_allowed(request) {
            self.check_in_use(request)?;
            return Ok(Verdict::Register(Cost::Nothing));
        }
        let is_for_one = claim.devices.exact().is_some();
        if self.exists && !is_for_one {
            return Err(RegistrationRefusal::IdTaken);
        }
        let cost = if claim.used < claim.uses {
            Cost::Use
        } else if is_for_one && claim.returned < claim.returns {
            Cost::Return
        } else {
            return Err(RegistrationRefusal::ClaimUsedUp);
        };
        if self.exists {
            self.check_return(request)?;
        }
        Ok(Verdict::Register(cost))
    }

    /// Judges the right password of an account.
    pub(crate) fn by_account(
        &self,
        request: &RegistrationRequest,
        by: &RegisteredBy,
    ) -> Result<Verdict, RegistrationRefusal> {
        self.check_blocked()?;
        if self.is_repeated(request, by) {
            return Ok(Verdict::Repeated);
        }
        if self.exists {
            self.check_permission(request)?;
        }
        Ok(Verdict::Register(Cost::Nothing))
    }

    /// Judges a certificate in the name of the device, with this key.
    pub(crate) fn by_certificate(
        &self,
        request: &RegistrationRequest,
        key: [u8; 32],
    ) -> Result<Verdict, RegistrationRefusal> {
        self.check_blocked()?;
        let is_same_key = self.certificate_key == Some(key);
        // Also of a device that was forgotten.
        if is_same_key && self.certificate_refused && !self.is_allowed(request) {
            return Err(RegistrationRefusal::KeyRefused);
        }
        if self.is_repeated(request, &RegisteredBy::Certificate { key }) {
            return Ok(Verdict::Repeated);
        }
        if self.exists && is_same_key && !self.is_allowed(request) {
            self.check_return(request)?;
        } else if self.exists {
            self.check_permission(request)?;
        }
        Ok(Verdict::Register(Cost::Nothing))
    }

    fn check_blocked(&self) -> Result<(), RegistrationRefusal> {
        if self.blocked { Err(RegistrationRefusal::Blocked) } else { Ok(()) }
    }

    fn check_permission(&self, request: &RegistrationRequest) -> Result<(), RegistrationRefusal> {
        if !self.is_allowed(request) {
            return Err(RegistrationRefusal::IdTaken);
        }
        self.check_in_use(request)
    }

    /// Trials replace a session that is at work, as they always did.
    fn check_in_use(&self, request: &RegistrationRequest) -> Result<(), RegistrationRefusal> {
        if request.in_use && !request.may_reregister {
            return Err(RegistrationRefusal::InUse);
        }
        Ok(())
    }

    /// Whether a device that needs no permission may return now.
    fn check_return(&self, request: &RegistrationRequest) -> Result<(), RegistrationRefusal> {
        self.check_in_use(request)?;
        let since = self.returned_at.and_then(|at| passed(at, request.at));
        match since.and_then(|since| RETURN_INTERVAL_S.checked_sub(since)) {
            Some(left) if left > 0 => {
                let retry_after = Duration::from_secs(left);
                Err(RegistrationRefusal::ReturnTooSoon { retry_after })
            }
            _ => Ok(()),
        }
    }

    /// Whether the id may be registered again by any right proof.
    fn is_allowed(&self, request: &RegistrationRequest) -> bool {
        request.may_reregister || self.reregistration_until.is_some_and(|until| request.at < until)
    }

    /// Whether this is the login that has registered the device already.
    fn is_repeated(&self, request: &RegistrationRequest, by: &RegisteredBy) -> bool {
        let Some(registration) = &self.registration else { return false };
        self.exists
            && !self.came_by_token
            && registration.by == *by
            && self.nonce == request.nonce
            && passed(registration.at, request.at).is_some_and(|since| since < REPETITION_S)
    }
}

/// How many seconds have passed between two times. `None` if the first one is more than a day in the future: then it was
/// noted by a clock that was ahead.
fn passed(from: u64, to: u64) -> Option<u64> {
    if from > to.saturating_add(86_400) { None } else { Some(to.saturating_sub(from)) }
}

pub(crate) fn provenance(request: &RegistrationRequest, by: RegisteredBy) -> Registration {
    Registration { by, at: request.at, address: request.address }
}

/// What the audit log says about a registration.
pub(crate) fn audited(
    registration: &Registration,
    request: &RegistrationRequest,
    returned: bool,
) -> AuditEntry {
    let actor = Actor::registrant(&registration.by);
    let by = registration.address.iter().fold(actor, |by, address| by.from_address(*address));
    let action = if returned { AuditAction::Returned } else { AuditAction::Registered };
    let device = Some(request.device.clone());
    AuditEntry { at: registration.at, by, action, device, detail: None }
}
