//! Pages of long lists: how long one is, and where the next begins.

use data_encoding::BASE64URL_NOPAD;
use fedecks_cloud::DeviceId;

use super::input::{Parameter, ParameterKind};
use super::request::Request;
use crate::http::problem::Problem;

/// The longest page.
pub(super) const MAX_LIMIT: usize = 500;

pub(super) const LIMIT: Parameter = Parameter {
    kind: ParameterKind::Number(MAX_LIMIT),
    ..Parameter::text("limit", "The maximum length of the page, 1 to 500; 100 by default")
};

pub(super) const CURSOR: Parameter = Parameter::text("cursor", "The `next` of the previous page");

pub(super) fn limit(request: &Request) -> Result<usize, Problem> {
    let parse = |text: &str| text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    Ok(request.parsed("limit", "1 to 500", parse)?.unwrap_or(100))
}

/// Where the page begins.
pub(super) fn cursor<T>(
    request: &Request,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    request.parsed("cursor", "the `next` of another page", parse)
}

/// The device after which the page begins.
pub(super) fn device_cursor(request: &Request) -> Result<Option<DeviceId>, Problem> {
    cursor(request, |text| {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        DeviceId::new(String::from_utf8(bytes).ok()?).ok()
    })
}

/// The cursor of the page that follows this device.
pub(super) fn to_cursor(device: &DeviceId) -> String {
    BASE64URL_NOPAD.encode(device.as_str().as_bytes())
}
