//! Durations as configuration files and command lines write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A duration as people write it: a whole number with `ms`, `s`, `m`, `h`, `d` or `w`, such as `90s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

/// A text that is not a [`HumanDuration`]; says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidDuration(String);

impl HumanDuration {
    /// A hundred years. Sums with it don't overflow.
    const MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
}

impl FromStr for HumanDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let milliseconds_per_unit: u64 = match unit.trim() {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 3600 * 1000,
            "d" => 24 * 3600 * 1000,
            "w" => 7 * 24 * 3600 * 1000,
            "" if digits > 0 => {
                return Err(InvalidDuration(format!("{text:?} has no unit; write \"{number}s\"")));
            }
            _ => {
                return Err(InvalidDuration(format!(
                    "{text:?} is not a duration; expected a whole number with ms, s, m, h, d or w, \
                     such as 90s"
                )));
            }
        };
        number
            .parse()
            .ok()
            .and_then(|number: u64| number.checked_mul(milliseconds_per_unit))
            .map(Duration::from_millis)
            .filter(|duration| *duration <= Self::MAX)
            .map(Self)
            .ok_or_else(|| {
                let what = if digits == 0 { "has no number" } else { "is longer than 100 years" };
                InvalidDuration(format!("{text:?} {what}"))
            })
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = HumanDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration in quotes, such as \"90s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanDuration, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Text)
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.0
    }
}

impl fmt::Display for InvalidDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidDuration {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_with_a_unit() {
        let parsed =
            |text: &str| text.parse::<HumanDuration>().map(|duration| duration.0.as_millis()).ok();
        assert_eq!(parsed("250ms"), Some(250));
        assert_eq!(parsed("19s"), Some(19_000));
        assert_eq!(parsed("2 m"), Some(120_000));
        assert_eq!(parsed("3h"), Some(10_800_000));
        assert_eq!(parsed("1d"), Some(86_400_000));
        assert_eq!(parsed("4w"), Some(2_419_200_000));
        for bad in ["", "5", "s", "-1s", "1.5h", "1 year", "99999999999999999999s", "5300w"] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_invalid_duration_says_what_was_expected() {
        let error = |text: &str| text.parse::<HumanDuration>().unwrap_err().to_string();
        assert_eq!(error("5"), r#""5" has no unit; write "5s""#);
        assert_eq!(error("s"), r#""s" has no number"#);
        assert_eq!(error("5300w"), r#""5300w" is longer than 100 years"#);
        assert_eq!(
            error("1.5h"),
            r#""1.5h" is not a duration; expected a whole number with ms, s, m, h, d or w, such as 90s"#
        );
        let number = serde_json::from_str::<HumanDuration>("5").unwrap_err().to_string();
        assert!(number.contains(r#"expected a duration in quotes, such as "90s""#), "{number}");
    }
}
