//! What follows when a device asks that waits for an operator's approval.

use crate::claims::ClaimId;
use crate::registrations::{
    Approval, REPETITION_S, RegistrationNonce, RegistrationRefusal, RegistrationRequest,
};

/// What an operator has decided. The numbers are those in every store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Pending = 0,
    Approved = 1,
    Rejected = 2,
}

impl Decision {
    pub(crate) fn from_number(number: i64) -> Option<Self> {
        [Self::Pending, Self::Approved, Self::Rejected].into_iter().find(|it| *it as i64 == number)
    }
}

/// How long what waits is kept if it does not ask again, in seconds: a week.
pub(crate) const KEPT_S: u64 = 7 * 86_400;

/// How old the note of when a device has asked may be, in seconds, before it is written again.
const ASKED_STEP_S: u64 = 60;

/// A row: what waits, since it asked last, or since it was decided.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) approval: Approval,
    pub(crate) nonce: Option<RegistrationNonce>,
    pub(crate) decision: Decision,
}

/// What follows from a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is approved: the row has done its duty.
    Register,
    /// It is refused, and its row changes like this.
    Refuse(RegistrationRefusal, Change),
}

/// How a row changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    /// It has asked again.
    AskedAgain,
    /// This request waits from now on.
    Replace,
}

impl Asked {
    /// What follows when a device asks again, by this claim.
    pub(crate) fn again(&self, request: &RegistrationRequest, claim: ClaimId) -> Next {
        let silent = request.at.saturating_sub(self.approval.asked_at);
        let is_same_claim = self.approval.claim == claim;
        let is_same = is_same_claim && self.nonce == request.nonce;
        let pending = |change| Next::Refuse(RegistrationRefusal::ApprovalPending, change);
        match self.decision {
            Decision::Approved if is_same && silent < REPETITION_S => Next::Register,
            Decision::Rejected if is_same_claim && silent < REPETITION_S => {
                Next::Refuse(RegistrationRefusal::ApprovalRejected, Change::Nothing)
            }
            Decision::Pending if is_same && silent >= ASKED_STEP_S => pending(Change::AskedAgain),
            Decision::Pending if is_same => pending(Change::Nothing),
            // Another board with this id does not replace one that still asks, or was approved just now.
            Decision::Pending | Decision::Approved if silent < Approval::SILENT_S => {
                pending(Change::Nothing)
            }
            Decision::Pending | Decision::Approved | Decision::Rejected => pending(Change::Replace),
        }
    }
}
