//! The identity of a device. How a device finds out its own is not here.

use std::fmt;
use std::str::FromStr;

/// Identifies a device within its fleet: 1 to 128 printable ASCII characters without spaces and
/// without the path separators `/` and `\`, so that it can be part of a URL, a topic or a file name.
/// For the same reason it cannot be `.` or `..`.
///
/// ```
/// # use fedecks_protocol as fedecks_device;
/// use fedecks_device::DeviceId;
///
/// assert_eq!(DeviceId::new("kitchen-1")?.as_str(), "kitchen-1");
/// assert!(DeviceId::new("kitchen 1").is_err());
/// # Ok::<(), fedecks_device::InvalidDeviceId>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(Box<str>);

/// Why a text is not a valid [`DeviceId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDeviceId {
    /// The text is empty.
    #[error("a device id must not be empty")]
    Empty,
    /// The text has more than [`DeviceId::MAX_CHARS`] characters.
    #[error("a device id has at most {max} characters, not {0}", max = DeviceId::MAX_CHARS)]
    TooLong(usize),
    /// The text contains a space, a path separator or a character that is not printable ASCII.
    #[error(
        "a device id consists of printable ASCII without spaces, '/' and '\\'; character {position} is {character:?}"
    )]
    Character {
        /// Its position, counted from 1.
        position: usize,
        /// The character itself.
        character: char,
    },
    /// The text is `.` or `..`.
    #[error("a device id cannot be '.' or '..', which are directories")]
    Folder,
}

impl DeviceId {
    /// The maximum length, in characters (each is one byte).
    pub const MAX_CHARS: usize = 128;

    /// Validates `text`.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidDeviceId> {
        let text = text.as_ref();
        // Without an end before the last one, so that many are compared at once.
        let allowed = text.bytes().fold(true, |all, byte| all & is_allowed(byte.into()));
        if text.is_empty() || text.len() > Self::MAX_CHARS || !allowed {
            return Err(InvalidDeviceId::of(text));
        }
        if text == "." || text == ".." {
            return Err(InvalidDeviceId::Folder);
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_graphic() && c != '/' && c != '\\'
}

impl InvalidDeviceId {
    /// Of a text that is empty, too long, or has a character that is not allowed.
    fn of(text: &str) -> Self {
        let count = text.chars().count();
        let mut characters = text.chars().enumerate();
        match characters.find(|(_, c)| !is_allowed(*c)) {
            _ if count == 0 => Self::Empty,
            Some((index, character)) if count <= DeviceId::MAX_CHARS => {
                Self::Character { position: index + 1, character }
            }
            Some(_) | None => Self::TooLong(count),
        }
    }
}

impl FromStr for DeviceId {
    type Err = InvalidDeviceId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({})", self.0)
    }
}

impl serde::Serialize for DeviceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for DeviceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_id_is_1_to_128_printable_characters() {
        assert_eq!(DeviceId::new("nerves-242a").unwrap().as_str(), "nerves-242a");
        assert!(DeviceId::new("x".repeat(128)).is_ok());
        assert_eq!(DeviceId::new(""), Err(InvalidDeviceId::Empty));
        assert_eq!(DeviceId::new("x".repeat(129)), Err(InvalidDeviceId::TooLong(129)));
        assert_eq!(DeviceId::new(".."), Err(InvalidDeviceId::Folder));
    }

    #[test]
    fn a_device_id_has_no_space_separator_or_control_character() {
        for bad in ["a b", "a/b", "a\\b", "a\nb", "a\u{7f}b", "aéb"] {
            assert!(
                matches!(DeviceId::new(bad), Err(InvalidDeviceId::Character { position: 2, .. })),
                "{bad:?}"
            );
        }
    }
}
