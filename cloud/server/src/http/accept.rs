//! The header Accept (RFC 9110, 12.5.1): which media type a client prefers.

use http::HeaderMap;
use http::header::ACCEPT;

/// How much the client wants the first of these types that it names, from 0 to 1; `None` if it names none of them.
pub(super) fn quality(headers: &HeaderMap, types: &[&str]) -> Option<f32> {
    let accepted = || {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).filter_map(type_and_quality)
    };
    let of = |wanted: &&str| {
        let named = accepted().filter(|(kind, _)| kind.eq_ignore_ascii_case(wanted));
        named.map(|(_, quality)| quality).reduce(f32::max)
    };
    types.iter().find_map(of)
}

/// A type and its quality from 0 to 1, unless that is malformed.
fn type_and_quality(accepted: &str) -> Option<(&str, f32)> {
    let mut parts = accepted.split(';').map(str::trim);
    let kind = parts.next()?;
    let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    Some((kind, quality.map_or(Some(1.0), |quality| quality.parse().ok())?))
}
