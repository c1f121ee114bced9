//! What registrations cost a claim, and which claims a query selects: the same in every store.

use crate::claims::{ClaimId, ClaimQuery, ClaimRecord, NewClaim};
use crate::error::StoreError;

/// Why claims cannot be added.
#[derive(Debug)]
pub(crate) enum Obstacle {
    TooMany,
    Exists(ClaimId),
}

impl From<Obstacle> for StoreError {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::TooMany => Self::TooMany { what: "claims", max: ClaimRecord::MAX },
            Obstacle::Exists(id) => Self::Exists { what: "claim", name: id.to_string() },
        }
    }
}

/// Refuses more claims than a call may add.
pub(crate) fn check_number(claims: &[NewClaim]) -> Result<(), StoreError> {
    if claims.len() <= NewClaim::MAX_AT_ONCE {
        return Ok(());
    }
    let max = NewClaim::MAX_AT_ONCE as u32;
    Err(StoreError::TooMany { what: "claims at once", max })
}

/// What the audit log says about claims that were added; nothing about none.
pub(crate) fn summary(claims: &[NewClaim]) -> Option<String> {
    let (first, last) = (claims.first()?, claims.last()?);
    let NewClaim { id, devices, uses, .. } = first;
    Some(match claims.len() {
        1 => format!("{id}: {uses} of {devices}"),
        count => format!("{count} claims, {id} to {}", last.id),
    })
}

/// The numbers of uses and returns that are kept of a new claim.
pub(crate) fn counts(claim: &NewClaim) -> (u32, u32) {
    let returns = if claim.devices.exact().is_some() { claim.returns } else { 0 };
    (claim.uses.clamp(1, NewClaim::MAX_USES), returns.min(NewClaim::MAX_USES))
}

/// Whether a query selects a claim. Its search is in lower case.
pub(crate) fn matches(claim: &ClaimRecord, query: &ClaimQuery) -> bool {
    let in_state = query.state.is_none_or(|state| claim.state(query.now) == state);
    let contains = |search: &str| {
        let texts = [Some(claim.devices.as_str()), claim.label.as_deref(), claim.note.as_deref()];
        claim.id.to_string().contains(search)
            || texts.iter().flatten().any(|text| text.to_lowercase().contains(search))
    };
    in_state && query.search.as_deref().is_none_or(contains)
}

/// What a registration costs a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// One of its uses.
    Use,
    /// One of its returns.
    Return,
    /// Nothing: an operator has allowed it.
    Nothing,
}

impl Cost {
    /// How many more uses and returns are counted.
    pub(crate) fn counted(self) -> (u32, u32) {
        match self {
            Self::Use => (1, 0),
            Self::Return => (0, 1),
            Self::Nothing => (0, 0),
        }
    }

    /// Whether the claim is used up by this.
    pub(crate) fn uses_up(self, claim: &ClaimRecord) -> bool {
        let ClaimRecord { uses, used, returns, returned, .. } = claim;
        let (more_used, more_returned) = self.counted();
        self != Self::Nothing && used + more_used >= *uses && returned + more_returned >= *returns
    }
}
