//! Why a login failed, and what to do about it.

use fedecks_device_core::LoginError;
use fedecks_protocol::DeviceId;

/// The error of a login of this device, with what to do about it if there is something.
pub(crate) fn explain(error: &LoginError, device: &DeviceId) -> String {
    let remedy = match error {
        LoginError::Rejected(refusal) => refusal.remedy(device.as_str()),
        _ => None,
    };
    match remedy {
        Some(remedy) => format!("{error}; {remedy}"),
        None => error.to_string(),
    }
}
