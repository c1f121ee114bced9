//! Which ids a list of devices has to read, and which texts a search finds.

use std::ops::Bound;

use fedecks_protocol::DeviceId;

use crate::device_pattern::DevicePattern;

/// The range of ids to read. Ids are ASCII without control characters, so that all that begin with the
/// prefix are less than the prefix followed by DEL.
pub(crate) fn bounds(
    after: Option<&DeviceId>,
    scope: Option<&DevicePattern>,
) -> (Bound<String>, Option<String>) {
    let after = after.map(DeviceId::as_str);
    let prefix = scope.map(DevicePattern::prefix).filter(|prefix| !prefix.is_empty());
    let lower = match (after, prefix) {
        (None, None) => Bound::Unbounded,
        (Some(after), Some(prefix)) if after < prefix => Bound::Included(prefix.to_owned()),
        (Some(after), _) => Bound::Excluded(after.to_owned()),
        (None, Some(prefix)) => Bound::Included(prefix.to_owned()),
    };
    (lower, prefix.map(|prefix| format!("{prefix}\u{7f}")))
}

/// Whether an id, which is ASCII, contains `search`, which is in lower case, ignoring case.
#[cfg(feature = "sqlite")]
pub(crate) fn id_contains(text: &str, search: &str) -> bool {
    let (text, search) = (text.as_bytes(), search.as_bytes());
    search.is_empty() || text.windows(search.len()).any(|part| part.eq_ignore_ascii_case(search))
}

/// Whether a label contains `search`, which is in lower case, ignoring case.
#[cfg(feature = "sqlite")]
pub(crate) fn label_contains(label: &str, search: &str) -> bool {
    if label.is_ascii() {
        id_contains(label, search)
    } else {
        label.to_lowercase().contains(search)
    }
}
