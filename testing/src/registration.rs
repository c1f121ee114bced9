//! Registrations as a store gets them, for tests that have no device.

use fedecks_cloud::store::{ClaimSecret, RegistrationProof, RegistrationRequest, unix_now};

/// The registration of a device that sends no nonce and is not connected, at this moment.
pub fn registration(device: &str, proof: RegistrationProof) -> RegistrationRequest {
    RegistrationRequest {
        device: device.parse().unwrap(),
        proof,
        nonce: None,
        address: Some([192, 0, 2, 7].into()),
        at: unix_now(),
        in_use: false,
        may_reregister: false,
    }
}

/// A claim with this secret, or the account of this name.
pub fn claim_or_account(text: &str) -> RegistrationProof {
    match text.parse::<ClaimSecret>() {
        Ok(secret) => RegistrationProof::from(&secret),
        Err(_) => RegistrationProof::Account(text.to_owned()),
    }
}
