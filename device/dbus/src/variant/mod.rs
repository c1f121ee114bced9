//! Terms as D-Bus values and back.
//!
//! | term | D-Bus |
//! |---|---|
//! | `Bool` | `b` |
//! | `Int` | `x` if it fits, else `t`, else an escape |
//! | `Float` | `d` |
//! | `Str` without a NUL | `s` |
//! | `Bytes` | `ay` |
//! | `List` | `av` |
//! | `Tuple` of 1 to 253 values | a structure of that many `v` |
//! | `Map` whose keys are distinct strings without a NUL | `a{sv}` |
//! | everything else | an escape |
//!
//! An escape is a structure `(ov)`: an object path for its kind, and its content.
//!
//! | path | term | content |
//! |---|---|---|
//! | `/org/fedecks/term/nil` | `Nil` | an empty string |
//! | `/org/fedecks/term/int` | `Int` | its decimal digits as a string |
//! | `/org/fedecks/term/atom` | `Atom` | its name |
//! | `/org/fedecks/term/text` | `Str` | its UTF-8 bytes |
//! | `/org/fedecks/term/tuple` | `Tuple` | the list of its values |
//! | `/org/fedecks/term/map` | `Map` | the list of its pairs, each a tuple |
//!
//! In the other direction, every D-Bus value except a file descriptor becomes a term: integers `Int`;
//! strings, object paths and signatures `Str`; `ay` `Bytes`; other arrays `List`; structures `Tuple`;
//! dicts `Map`; and a variant becomes its content. A term survives the round trip unchanged.

mod de;
mod error;
mod escape;
mod ser;

use std::fmt;

use fedecks_protocol::{Limits, Term};
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};
use zbus::zvariant::{LE, Signature, Type, serialized::Context, serialized_size};

pub use error::VariantError;

/// A term as a D-Bus variant.
#[derive(Clone, PartialEq, Default)]
pub struct Variant(Term);

/// A [`Term::Map`] with string keys as a D-Bus dict `a{sv}`.
#[derive(Clone, PartialEq, Default)]
pub struct Dictionary(Vec<(Term, Term)>);

/// Maximum encoded size of a value that is sent to the bus. A bus disconnects a sender whose message
/// exceeds its limit, which is 32 MiB by default on a system bus.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Limits of a value from an untrusted caller: the size is that of a message to the cloud, the memory half as
/// much again as a message from the cloud may take by default, since containers grow while they are read.
/// D-Bus itself has 64 levels.
const FROM_CALLERS: Limits = Limits {
    max_size: 1024 * 1024,
    max_depth: Limits::MAX_DEPTH,
    max_decoded: Limits::DEVICE_DECODED + Limits::DEVICE_DECODED / 2 + 4 * 1024,
};

/// Limits of a value from the service, whatever it is configured to.
const FROM_SERVICE: Limits = Limits {
    max_size: Limits::MAX_SIZE,
    max_depth: Limits::MAX_DEPTH,
    max_decoded: 2 * Limits::MAX_SIZE,
};

impl Variant {
    /// Wraps a term, if it is not too deeply nested or too big for D-Bus.
    pub fn new(term: Term) -> Result<Self, VariantError> {
        Self::within(term, MAX_BYTES)
    }

    /// Wraps a term, if it takes at most `max` bytes on D-Bus.
    pub fn within(term: Term, max: usize) -> Result<Self, VariantError> {
        ser::check_levels(&term, 0)?;
        let variant = Self(term);
        check_size(&variant, max.min(MAX_BYTES))?;
        Ok(variant)
    }

    /// The term.
    pub fn term(&self) -> &Term {
        &self.0
    }

    /// Unwraps the term.
    pub fn into_term(self) -> Term {
        self.0
    }
}

impl Dictionary {
    /// Wraps the entries, if they can be sent over D-Bus.
    pub fn new(entries: Vec<(Term, Term)>) -> Result<Self, VariantError> {
        if let Some(key) = ser::invalid_key(&entries) {
            return Err(VariantError::Key(key));
        }
        for (_, value) in &entries {
            // Within the array and the dict entry.
            ser::check_levels(value, 2)?;
        }
        let dictionary = Self(entries);
        check_size(&dictionary, MAX_BYTES)?;
        Ok(dictionary)
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Term> {
        self.0.iter().find(|(known, _)| known.as_str() == Some(key)).map(|(_, value)| value)
    }

    /// The entries as a [`Term::Map`].
    pub fn into_term(self) -> Term {
        Term::Map(self.0)
    }
}

fn check_size<T: Serialize + Type>(value: &T, max: usize) -> Result<(), VariantError> {
    match serialized_size(Context::new_dbus(LE, 0), value) {
        Ok(size) if *size <= max => Ok(()),
        Ok(_) => Err(VariantError::TooBig { max }),
        // Everything else has been checked.
        Err(_) => Err(VariantError::TooDeep),
    }
}

impl Type for Variant {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl Type for Dictionary {
    const SIGNATURE: &'static Signature =
        &Signature::static_dict(&Signature::Str, &Signature::Variant);
}

impl Serialize for Variant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ser::variant(&self.0, serializer)
    }
}

impl Serialize for Dictionary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ser::dictionary(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Variant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let term = de::read(Self::SIGNATURE, &FROM_SERVICE, deserializer)?;
        term.map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Dictionary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match de::read(Self::SIGNATURE, &FROM_SERVICE, deserializer)? {
            Ok(Term::Map(entries)) => Ok(Self(entries)),
            Ok(other) => Err(D::Error::custom(format_args!("{} is not a dict", other.kind()))),
            Err(error) => Err(D::Error::custom(error)),
        }
    }
}

impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variant({})", self.0.kind())
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dictionary({} entries)", self.0.len())
    }
}

/// A variant from an untrusted caller: an error in it does not make the entire message unreadable. Its
/// size is limited to that of a message to the cloud, and so is the memory that it takes.
#[derive(Debug)]
pub struct Received(pub Result<Variant, VariantError>);

/// A dict `a{sv}` from an untrusted caller, likewise.
#[derive(Debug)]
pub struct ReceivedDictionary(pub Result<Variant, VariantError>);

macro_rules! received {
    ($($received:ty as $type:ty),*) => {$(
        impl Type for $received {
            const SIGNATURE: &'static Signature = <$type>::SIGNATURE;
        }

        impl<'de> Deserialize<'de> for $received {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let read = de::read(Self::SIGNATURE, &FROM_CALLERS, deserializer)?;
                Ok(Self(read.map(Variant)))
            }
        }
    )*};
}
received!(Received as Variant, ReceivedDictionary as Dictionary);

#[cfg(test)]
mod tests;
