//! Decides whether a device is registered, from what the store knows about its id and the claim.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};

use super::sql;
use crate::claims::ClaimRecord;
use crate::registrations::{
    REPETITION_S, RETURN_INTERVAL_S, RegisteredBy, Registration, RegistrationNonce,
    RegistrationRefusal, RegistrationRequest,
};
use crate::sqlite::claims::Cost;
use crate::sqlite::columns::{optional_unsigned, unsigned};
use crate::sqlite::devices::registration;

/// What the store knows about the id of a device.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// It has been registered or seen, and was not forgotten since.
    pub(super) exists: bool,
    pub(super) blocked: bool,
    pub(super) generation: u64,
    pub(super) registration: Option<Registration>,
    nonce: Option<RegistrationNonce>,
    came_by_token: bool,
    returned_at: Option<u64>,
    reregistration_until: Option<u64>,
    certificate_key: Option<[u8; 32]>,
    certificate_refused: bool,
}

/// How a device is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was already, by the same login.
    Repeated,
    /// It is registered. A claim pays this for it.
    Register(Cost),
}

impl Known {
    pub(super) fn read(tx: &Connection, device: &str) -> rusqlite::Result<Self> {
        let known = tx.prepare_cached(sql::KNOWN)?.query_row([device], known).optional()?;
        Ok(known.unwrap_or_default())
    }

    /// Judges a claim that is good for some ids.
    pub(super) fn by_claim(
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
    pub(super) fn by_account(
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
    pub(super) fn by_certificate(
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

fn known(row: &Row<'_>) -> rusqlite::Result<Known> {
    Ok(Known {
        exists: row.get(0)?,
        blocked: row.get(1)?,
        generation: unsigned(row, 2)?,
        registration: registration(row, 3)?,
        nonce: row.get::<_, Option<[u8; 16]>>(6)?.map(RegistrationNonce),
        came_by_token: row.get(7)?,
        returned_at: optional_unsigned(row, 8)?,
        reregistration_until: optional_unsigned(row, 9)?,
        certificate_key: row.get(10)?,
        certificate_refused: row.get(11)?,
    })
}
