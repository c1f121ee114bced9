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
//! | `Map` whose keys are texts without a NUL, none twice | `a{sv}` |
//! | everything else | an escape |
//!
//! An escape is a structure `(ov)`: an object path that says what it is, and its content.
//!
//! | path | term | content |
//! |---|---|---|
//! | `/org/fedecks/term/nil` | `Nil` | an empty text |
//! | `/org/fedecks/term/int` | `Int` | its decimal digits as a text |
//! | `/org/fedecks/term/atom` | `Atom` | its text |
//! | `/org/fedecks/term/text` | `Str` | its UTF-8 bytes |
//! | `/org/fedecks/term/tuple` | `Tuple` | the list of its values |
//! | `/org/fedecks/term/map` | `Map` | the list of its pairs, each a tuple |
//!
//! The other way every D-Bus value but a file descriptor becomes a term: all integers `Int`; texts,
//! object paths and signatures `Str`; `ay` `Bytes`; other arrays `List`; structures `Tuple`; dicts
//! `Map`; and a variant is what it holds. So a term comes back from D-Bus as it was.

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

/// A term in the form of a D-Bus variant.
#[derive(Clone, PartialEq, Default)]
pub struct Variant(Term);

/// A [`Term::Map`] with text keys in the form of a D-Bus dict `a{sv}`.
#[derive(Clone, PartialEq, Default)]
pub struct Dictionary(Vec<(Term, Term)>);

/// The biggest value that is put on the bus, in bytes of its D-Bus form. A bus ends the connection
/// of whoever sends a message above its limit, which is 32 MiB on a system bus as it comes.
const MAX_BYTES: usize = 16 * 1024 * 1024;

impl Variant {
    /// The term as it travels over D-Bus, if it is not too deep or too big for that.
    pub fn new(term: Term) -> Result<Self, VariantError> {
        ser::check_levels(&term, 0)?;
        let variant = Self(term);
        check_size(&variant)?;
        Ok(variant)
    }

    /// The term.
    pub fn term(&self) -> &Term {
        &self.0
    }

    /// The term itself.
    pub fn into_term(self) -> Term {
        self.0
    }
}

impl Dictionary {
    /// The entries as they travel over D-Bus.
    pub fn new(entries: Vec<(Term, Term)>) -> Result<Self, VariantError> {
        if let Some(key) = ser::unfit_key(&entries) {
            return Err(VariantError::Key(key));
        }
        for (_, value) in &entries {
            // Inside the array and its entry.
            ser::check_levels(value, 2)?;
        }
        let dictionary = Self(entries);
        check_size(&dictionary)?;
        Ok(dictionary)
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Term> {
        self.0.iter().find(|(known, _)| known.as_str() == Some(key)).map(|(_, value)| value)
    }

    /// All of it as a term, a [`Term::Map`].
    pub fn into_term(self) -> Term {
        Term::Map(self.0)
    }
}

fn check_size<T: Serialize + Type>(value: &T) -> Result<(), VariantError> {
    match serialized_size(Context::new_dbus(LE, 0), value) {
        Ok(size) if *size <= MAX_BYTES => Ok(()),
        Ok(_) => Err(VariantError::TooBig { max: MAX_BYTES }),
        // All else was checked.
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
        let term = de::read(Self::SIGNATURE, Limits::MAX_SIZE, deserializer)?;
        term.map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Dictionary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match de::read(Self::SIGNATURE, Limits::MAX_SIZE, deserializer)? {
            Ok(Term::Map(entries)) => Ok(Self(entries)),
            Ok(other) => Err(D::Error::custom(format_args!("{} is no dict", other.kind()))),
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

/// A variant of a caller, who may have sent anything: an error in it does not make the whole message
/// unreadable. Its texts, bytes and values together are no more than a message to the cloud can be.
#[derive(Debug)]
pub struct Received(pub Result<Variant, VariantError>);

/// A dict `a{sv}` of a caller, in the same way.
#[derive(Debug)]
pub struct ReceivedDictionary(pub Result<Variant, VariantError>);

macro_rules! received {
    ($($received:ty as $type:ty),*) => {$(
        impl Type for $received {
            const SIGNATURE: &'static Signature = <$type>::SIGNATURE;
        }

        impl<'de> Deserialize<'de> for $received {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let max = Limits::default().max_size;
                Ok(Self(de::read(Self::SIGNATURE, max, deserializer)?.map(Variant)))
            }
        }
    )*};
}
received!(Received as Variant, ReceivedDictionary as Dictionary);

#[cfg(test)]
mod tests;
