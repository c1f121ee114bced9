//! What claims are to be made, as the command and the API ask for them, and whether that is possible.

use std::collections::HashSet;

use fedecks_common::utc;
use fedecks_protocol::DeviceId;
use fedecks_store::{DevicePattern, InvalidLabel, NewClaim, check_label};

/// New claims that differ in their secrets, and in their devices if those are listed.
#[derive(Debug)]
pub(crate) struct ClaimOrder {
    pub(crate) devices: ClaimDevices,
    /// How many devices each of them registers.
    pub(crate) uses: u32,
    /// How often the device of a claim for exactly one id may come back without its token.
    pub(crate) returns: Option<u32>,
    /// In seconds since 1970-01-01 UTC.
    pub(crate) expires_at: Option<u64>,
    /// The label of the devices that they register.
    pub(crate) label: Option<String>,
    /// Whether an operator has to approve each device.
    pub(crate) approval: bool,
    /// For people.
    pub(crate) note: Option<String>,
}

/// What the claims of an order are for.
#[derive(Debug)]
pub(crate) enum ClaimDevices {
    /// This number of claims, each for any of these devices.
    Pattern(DevicePattern, usize),
    /// A claim for each of these devices.
    Each(Vec<DeviceId>),
}

/// An order that cannot be filled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidOrder {
    #[error("expected 1 to {max} claims at once, not {0}", max = NewClaim::MAX_AT_ONCE)]
    Count(usize),
    #[error("expected 1 to {max} uses, not {0}", max = NewClaim::MAX_USES)]
    Uses(u32),
    #[error(
        "a claim for the single device {0} has one use; its returns say how often it may come back"
    )]
    UsesOfOne(DeviceId),
    #[error("expected up to {max} returns, not {0}", max = NewClaim::MAX_USES)]
    Returns(u32),
    #[error("only a claim for a single device id has returns, and {0} may be several")]
    ReturnsOfSeveral(String),
    #[error("'*' in {0}: name a device id, or make claims for a pattern")]
    PatternInList(DeviceId),
    #[error("the device id {0} is listed twice")]
    Twice(DeviceId),
    #[error("the claims would expire at {expires}, which is in the past: it is {now}")]
    Expired { expires: String, now: String },
    #[error("the label: {0}")]
    Label(InvalidLabel),
    #[error("the note: {0}")]
    Note(InvalidLabel),
}

impl ClaimOrder {
    /// The claims with new secrets, at this time.
    pub(crate) fn fill(self, now: u64) -> Result<Vec<NewClaim>, InvalidOrder> {
        self.check(now)?;
        let patterns: Vec<_> = match &self.devices {
            ClaimDevices::Pattern(pattern, count) => vec![pattern.clone(); *count],
            ClaimDevices::Each(devices) => {
                devices.iter().map(pattern_of).collect::<Result<_, _>>()?
            }
        };
        let returns = self.returns.unwrap_or(NewClaim::DEFAULT_RETURNS);
        let claim = |devices: DevicePattern| NewClaim {
            returns: if devices.exact().is_some() { returns } else { 0 },
            uses: self.uses,
            expires_at: self.expires_at,
            label: self.label.clone(),
            approval: self.approval,
            note: self.note.clone(),
            ..NewClaim::new(devices)
        };
        Ok(patterns.into_iter().map(claim).collect())
    }

    fn check(&self, now: u64) -> Result<(), InvalidOrder> {
        let (count, single) = match &self.devices {
            ClaimDevices::Pattern(pattern, count) => (*count, pattern.exact()),
            ClaimDevices::Each(devices) => (devices.len(), devices.first().cloned()),
        };
        if !(1..=NewClaim::MAX_AT_ONCE).contains(&count) {
            return Err(InvalidOrder::Count(count));
        }
        if !(1..=NewClaim::MAX_USES).contains(&self.uses) {
            return Err(InvalidOrder::Uses(self.uses));
        }
        if let Some(returns) = self.returns.filter(|returns| *returns > NewClaim::MAX_USES) {
            return Err(InvalidOrder::Returns(returns));
        }
        match (single, &self.devices) {
            (Some(device), _) if self.uses > 1 => return Err(InvalidOrder::UsesOfOne(device)),
            (None, ClaimDevices::Pattern(pattern, _)) if self.returns.is_some() => {
                return Err(InvalidOrder::ReturnsOfSeveral(pattern.to_string()));
            }
            _ => {}
        }
        if let ClaimDevices::Each(devices) = &self.devices {
            let mut seen = HashSet::new();
            if let Some(twice) = devices.iter().find(|device| !seen.insert(*device)) {
                return Err(InvalidOrder::Twice(twice.clone()));
            }
        }
        if let Some(expires_at) = self.expires_at.filter(|at| *at <= now) {
            return Err(InvalidOrder::Expired { expires: utc(expires_at), now: utc(now) });
        }
        self.label.as_deref().map_or(Ok(()), check_label).map_err(InvalidOrder::Label)?;
        self.note.as_deref().map_or(Ok(()), check_label).map_err(InvalidOrder::Note)
    }
}

fn pattern_of(device: &DeviceId) -> Result<DevicePattern, InvalidOrder> {
    // A star would stand for any characters.
    let pattern =
        DevicePattern::new(device.as_str()).ok().filter(|pattern| pattern.exact().is_some());
    pattern.ok_or_else(|| InvalidOrder::PatternInList(device.clone()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn order(devices: &str, count: usize) -> ClaimOrder {
        ClaimOrder {
            devices: ClaimDevices::Pattern(devices.parse().unwrap(), count),
            uses: 1,
            returns: None,
            expires_at: None,
            label: None,
            approval: false,
            note: None,
        }
    }

    fn each(ids: &[&str]) -> ClaimOrder {
        let ids = ids.iter().map(|id| DeviceId::new(*id).unwrap()).collect();
        ClaimOrder { devices: ClaimDevices::Each(ids), ..order("*", 1) }
    }

    #[test]
    fn each_claim_has_a_secret_that_no_other_has() {
        let claims = ClaimOrder { uses: 7, ..order("kit-*", 10_000) }.fill(NOW).unwrap();
        let secrets: HashSet<_> = claims.iter().map(|claim| claim.secret.expose()).collect();
        assert_eq!((claims.len(), secrets.len()), (10_000, 10_000));
        assert!(claims.iter().all(|claim| (claim.uses, claim.returns) == (7, 0)));
        let claims = each(&["kit-1", "kit-2"]).fill(NOW).unwrap();
        let devices: Vec<_> = claims.iter().map(|claim| claim.devices.as_str()).collect();
        assert_eq!(devices, ["kit-1", "kit-2"]);
        assert!(claims.iter().all(|claim| claim.returns == 3), "their devices may come back");
        let never = ClaimOrder { returns: Some(0), ..order("kit-1", 1) }.fill(NOW).unwrap();
        assert_eq!(never[0].returns, 0);
    }

    #[test]
    fn an_order_that_makes_no_sense_is_refused_with_the_reason() {
        let long = Some("x".repeat(129));
        let expired = Some(NOW);
        for (order, expected) in [
            (order("*", 0), "expected 1 to 10000 claims at once, not 0"),
            (order("*", 10_001), "expected 1 to 10000 claims at once, not 10001"),
            (each(&[]), "expected 1 to 10000 claims at once, not 0"),
            (ClaimOrder { uses: 0, ..order("*", 1) }, "expected 1 to 1000000 uses, not 0"),
            (ClaimOrder { uses: 1_000_001, ..order("*", 1) }, "not 1000001"),
            (ClaimOrder { uses: 2, ..order("kit-1", 1) }, "the single device kit-1 has one use"),
            (ClaimOrder { returns: Some(1), ..order("*", 1) }, "and * may be several"),
            (ClaimOrder { returns: Some(1_000_001), ..order("a", 1) }, "up to 1000000 returns"),
            (ClaimOrder { expires_at: expired, ..order("*", 1) }, "2023-11-14T22:13:20Z, which is"),
            (each(&["a", "b", "a"]), "the device id a is listed twice"),
            (each(&["a-*"]), "'*' in a-*: name a device id"),
            (
                ClaimOrder { label: long.clone(), ..order("*", 1) },
                "the label: a label has 1 to 128",
            ),
            (ClaimOrder { note: long, ..order("*", 1) }, "the note: "),
        ] {
            let error = order.fill(NOW).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let later = ClaimOrder { expires_at: Some(NOW + 1), ..order("*", 1) };
        assert_eq!(later.fill(NOW).unwrap()[0].expires_at, Some(NOW + 1));
    }
}
