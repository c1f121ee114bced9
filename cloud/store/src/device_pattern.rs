//! Patterns that match device ids.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use fedecks_protocol::DeviceId;

/// A pattern of device ids, such as `site-a-*`: each `*` stands for any characters or none. Clones share
/// it.
///
/// ```
/// # mod fedecks_cloud { pub use {fedecks_protocol::DeviceId, fedecks_store as store}; }
/// use fedecks_cloud::DeviceId;
/// use fedecks_cloud::store::DevicePattern;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pattern = DevicePattern::new("site-a-*")?;
/// assert!(pattern.matches(&DeviceId::new("site-a-7")?));
/// assert!(!pattern.matches(&DeviceId::new("site-b-7")?));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DevicePattern(Arc<Compiled>);

/// The pattern as an automaton with a state for each position in it: bit `n` of a set stands for "the
/// first `n` characters of the pattern, stars not counted, match the text so far". Whatever the pattern,
/// a text takes a few steps per character.
struct Compiled {
    text: Box<str>,
    /// For each ASCII character the states that it may lead to.
    after: [u128; 128],
    /// The states that any character leads back to: those with a star behind them.
    stay: u128,
    /// The last state, after all characters but the stars.
    length: usize,
}

/// A text that is not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pattern has 1 to {max} characters, each '*' or one that a device id may have (visible ASCII \
     without '/' and '\\')",
    max = DeviceId::MAX_CHARS
)]
#[non_exhaustive]
pub struct InvalidDevicePattern;

impl DevicePattern {
    /// Parses a pattern.
    pub fn new(text: &str) -> Result<Self, InvalidDevicePattern> {
        let allowed = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b'\\';
        if (1..=DeviceId::MAX_CHARS).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(Arc::new(Compiled::new(text))))
        } else {
            Err(InvalidDevicePattern)
        }
    }

    /// Whether the pattern matches the device. Takes as many steps as the id has characters.
    pub fn matches(&self, device: &DeviceId) -> bool {
        self.matches_text(device.as_str())
    }

    /// [`DevicePattern::matches`] for a text that may not be a device id.
    pub fn matches_text(&self, text: &str) -> bool {
        self.0.matches(text.as_bytes())
    }

    /// The common prefix of all ids that it matches.
    pub fn prefix(&self) -> &str {
        self.as_str().split('*').next().unwrap_or_default()
    }

    /// Whether it matches every id that begins with its [prefix](DevicePattern::prefix).
    pub fn is_prefix(&self) -> bool {
        self.as_str().strip_suffix('*').is_some_and(|before| !before.contains('*'))
    }

    /// The only id that it matches, if it has no star.
    pub fn exact(&self) -> Option<DeviceId> {
        if self.as_str().contains('*') { None } else { DeviceId::new(self.as_str()).ok() }
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

impl Compiled {
    fn new(text: &str) -> Self {
        let mut compiled = Self { text: text.into(), after: [0; 128], stay: 0, length: 0 };
        for byte in text.bytes() {
            if byte == b'*' {
                compiled.stay |= bit(compiled.length);
            } else {
                compiled.length += 1;
                compiled.after[usize::from(byte)] |= bit(compiled.length);
            }
        }
        compiled
    }

    fn matches(&self, text: &[u8]) -> bool {
        // State 0, which only a leading star stays in, is apart: there are 129 states.
        let begins_with_star = self.text.starts_with('*');
        let (mut at_start, mut states) = (true, 0_u128);
        for byte in text {
            let after = self.after.get(usize::from(*byte)).copied().unwrap_or_default();
            let moved = (states << 1 | u128::from(at_start)) & after;
            states = moved | (states & self.stay);
            at_start &= begins_with_star;
        }
        if self.length == 0 { at_start } else { states & bit(self.length) != 0 }
    }
}

/// The bit of a state; none for state 0.
fn bit(state: usize) -> u128 {
    state.checked_sub(1).map_or(0, |shift| 1 << shift)
}

impl PartialEq for DevicePattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for DevicePattern {}

impl Hash for DevicePattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DevicePattern").field(&self.as_str()).finish()
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
        f.write_str(self.as_str())
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
    fn a_malicious_pattern_takes_a_step_per_character() {
        let id = DeviceId::new("a".repeat(128)).unwrap();
        for pattern in [format!("{}b", "a*".repeat(63)), format!("*{}b", "a".repeat(62))] {
            let pattern = DevicePattern::new(&pattern).unwrap();
            let started = std::time::Instant::now();
            for _ in 0..20_000 {
                assert!(!pattern.matches(&id));
            }
            let took = started.elapsed();
            assert!(took.as_millis() < 700, "{pattern}: {took:?}");
        }
    }

    #[test]
    fn a_pattern_matches_like_one_that_tries_everything() {
        fn naive(pattern: &[u8], text: &[u8]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((b'*', rest)) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
                Some((first, rest)) => text
                    .split_first()
                    .is_some_and(|(character, others)| character == first && naive(rest, others)),
            }
        }
        // Every pattern of up to five characters out of three, and every text out of two.
        let texts = |characters: &[u8], length: usize| {
            let mut all = vec![Vec::new()];
            let mut last = all.clone();
            for _ in 0..length {
                let longer = |text: &Vec<u8>| {
                    let text = text.clone();
                    characters.iter().map(move |c| [&text[..], &[*c]].concat()).collect::<Vec<_>>()
                };
                last = last.iter().flat_map(longer).collect();
                all.extend(last.clone());
            }
            all
        };
        for pattern in texts(b"ab*", 5).iter().skip(1) {
            let compiled = DevicePattern::new(std::str::from_utf8(pattern).unwrap()).unwrap();
            for text in texts(b"ab", 6) {
                let id = std::str::from_utf8(&text).unwrap();
                assert_eq!(compiled.matches_text(id), naive(pattern, &text), "{compiled} {id}");
            }
        }
        let longest = "a".repeat(128);
        assert!(matches(&longest, &longest) && !matches(&longest, &longest[1..]));
    }

    #[test]
    fn characters_that_no_device_id_has_are_rejected() {
        for text in ["", "a b", "ä*", "a/b", "a\\b", &"a".repeat(129)] {
            assert_eq!(DevicePattern::new(text), Err(InvalidDevicePattern), "{text:?}");
        }
    }

    #[test]
    fn the_prefix_is_what_comes_before_the_first_star() {
        for (pattern, prefix, is_all) in [
            ("site-a-*", "site-a-", true),
            ("*", "", true),
            ("*x", "", false),
            ("a", "a", false),
            ("a*b*", "a", false),
        ] {
            let pattern = DevicePattern::new(pattern).unwrap();
            assert_eq!((pattern.prefix(), pattern.is_prefix()), (prefix, is_all));
        }
    }
}
