//! Patterns that match device ids.

use std::fmt;
use std::str::FromStr;

use fedecks_protocol::DeviceId;

/// A pattern of device ids, such as `site-a-*`: each `*` stands for any characters or none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DevicePattern(Box<str>);

/// A text that is not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pattern has 1 to {max} characters, each '*' or one that a device id may have (visible ASCII \
     without '/' and '\\')",
    max = DeviceId::MAX_CHARS
)]
pub struct InvalidDevicePattern;

impl DevicePattern {
    /// Parses a pattern.
    pub fn new(text: &str) -> Result<Self, InvalidDevicePattern> {
        let allowed = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b'\\';
        if (1..=DeviceId::MAX_CHARS).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidDevicePattern)
        }
    }

    /// Whether the pattern matches the device. Takes at most as many steps as the product of the two
    /// lengths, which is 16,384.
    pub fn matches(&self, device: &DeviceId) -> bool {
        self.matches_text(device.as_str())
    }

    /// [`DevicePattern::matches`] for a text that may not be a device id.
    pub fn matches_text(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at, mut here) = (0, 0);
        // The position of the last '*', and the end of what it matches.
        let mut star: Option<(usize, usize)> = None;
        while here < text.len() {
            match (pattern.get(at), star) {
                (Some(b'*'), _) => {
                    star = Some((at, here));
                    at += 1;
                }
                (Some(wanted), _) if *wanted == text[here] => {
                    at += 1;
                    here += 1;
                }
                // The '*' takes one character more.
                (_, Some((place, taken))) => {
                    star = Some((place, taken + 1));
                    at = place + 1;
                    here = taken + 1;
                }
                (_, None) => return false,
            }
        }
        pattern[at..].iter().all(|rest| *rest == b'*')
    }

    /// The common prefix of all ids that it matches.
    pub fn prefix(&self) -> &str {
        self.0.split('*').next().unwrap_or_default()
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DevicePattern {
    type Err = InvalidDevicePattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, id: &str) -> bool {
        DevicePattern::new(pattern).unwrap().matches(&DeviceId::new(id).unwrap())
    }

    #[test]
    fn a_star_stands_for_any_characters_or_none() {
        for (pattern, matching, others) in [
            ("*", &["a", "a*b"][..], &[][..]),
            ("site-a-*", &["site-a-1", "site-a-"], &["site-b-1", "site-a", "xsite-a-1"]),
            ("*-pump", &["site-a-pump"], &["site-a-pump-1"]),
            ("site-*-pump-*", &["site-a-pump-1"], &[]),
            ("a**b", &["ab"], &[]),
            ("a*b", &["a*b"], &[]),
            ("*ab*ab", &["abxabab"], &[]),
            ("exact", &["exact"], &["exac", "exactly"]),
            ("Exact", &[], &["exact"]),
            ("a?c", &[], &["abc"]),
            ("[ab]", &[], &["a"]),
        ] {
            for id in matching.iter().chain(others) {
                assert_eq!(matches(pattern, id), matching.contains(id), "{pattern} {id}");
            }
        }
    }

    #[test]
    fn a_malicious_pattern_does_not_take_long() {
        let pattern = format!("{}b", "a*".repeat(63));
        let started = std::time::Instant::now();
        for _ in 0..100 {
            assert!(!matches(&pattern, &"a".repeat(128)));
        }
        assert!(started.elapsed().as_secs() < 2, "{:?}", started.elapsed());
    }

    #[test]
    fn characters_that_no_device_id_has_are_rejected() {
        for text in ["", "a b", "ä*", "a/b", "a\\b", &"a".repeat(129)] {
            assert_eq!(DevicePattern::new(text), Err(InvalidDevicePattern), "{text:?}");
        }
    }

    #[test]
    fn the_prefix_is_what_comes_before_the_first_star() {
        for (pattern, prefix) in [("site-a-*", "site-a-"), ("*x", ""), ("a", "a"), ("a*b*", "a")] {
            assert_eq!(DevicePattern::new(pattern).unwrap().prefix(), prefix);
        }
    }
}
