//! What people can do about a refusal.

use super::refusal::Refusal;

impl Refusal {
    /// What to do so that the device `id` is not refused like this again, if there is something to do at the device or
    /// in the cloud. For people; it continues a sentence.
    pub fn remedy(self, id: &str) -> Option<String> {
        Some(match self {
            Self::ClaimMismatch => format!("give this device a claim for {id}"),
            Self::IdTaken => {
                format!("to let it register again: fedecks-cloud device allow-reregistration {id}")
            }
            Self::ApprovalPending => format!("in the cloud: fedecks-cloud device approve {id}"),
            Self::InUse => {
                "it waits until that connection ends; if another device has it, one of them needs another id"
                    .to_owned()
            }
            Self::CertificateRefused => {
                format!("its certificate must be for {id}, valid, and not revoked")
            }
            Self::Blocked => format!("in the cloud: fedecks-cloud device unblock {id}"),
            Self::MissingHeader
            | Self::NotBase64
            | Self::Malformed
            | Self::NoDeviceId
            | Self::UnsupportedDialect
            | Self::HeaderTooLong
            | Self::BadCredentials
            | Self::TokenInvalid
            | Self::TokenExpired
            | Self::TokenRevoked
            | Self::WrongDevice
            // They say it themselves.
            | Self::ClaimExpired
            | Self::ClaimUsedUp
            | Self::ClaimRevoked
            | Self::RateLimited
            | Self::Unavailable => return None,
        })
    }

    /// Whether a login waits for someone: it goes through without anything new at the device.
    pub fn waits(self) -> bool {
        matches!(self, Self::InUse | Self::ApprovalPending)
    }

    /// The refusal and what to do about it, in a sentence.
    pub fn explain(self, id: &str) -> String {
        match self.remedy(id) {
            Some(remedy) => format!("{self}; {remedy}"),
            None => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do_if_there_is_something() {
        for (refusal, expected) in [
            (Refusal::BadCredentials, "the credentials were not accepted"),
            (
                Refusal::IdTaken,
                "the device id is registered already; to let it register again: fedecks-cloud device \
                 allow-reregistration kitchen-1",
            ),
            (
                Refusal::ApprovalPending,
                "an operator has to approve this device; in the cloud: fedecks-cloud device approve kitchen-1",
            ),
            (Refusal::ClaimExpired, "the claim has expired: ask for a new one"),
        ] {
            assert_eq!(refusal.explain("kitchen-1"), expected);
        }
        assert!(
            Refusal::ALL.iter().all(|refusal| !refusal.waits() || refusal.remedy("x").is_some())
        );
    }
}
