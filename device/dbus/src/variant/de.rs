//! Decodes a term from D-Bus.

use std::cell::Cell;
use std::fmt;

use fedecks_protocol::Term;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use zbus::zvariant::Signature;

use super::error::VariantError;
use super::escape::{ATOM, ESCAPES, INT, MAP, NIL, TEXT, TUPLE};

/// Reads a value of this signature. Each nested value, and each byte of strings and byte arrays, counts
/// as one byte, which is less than any dialect needs for it; the sum is limited to `max`.
///
/// After an error, the deserializer is left in the middle of the value.
pub(super) fn read<'de, D: Deserializer<'de>>(
    signature: &Signature,
    max: usize,
    deserializer: D,
) -> Result<Result<Term, VariantError>, D::Error> {
    let budget = Budget { max, bytes: Cell::new(max), error: Cell::new(None) };
    match (Value { signature, budget: &budget }).deserialize(deserializer) {
        Ok(term) => Ok(Ok(term)),
        Err(error) => budget.error.take().map(Err).ok_or(error),
    }
}

/// The bytes that may still be read, and the error that has ended the reading.
struct Budget {
    max: usize,
    bytes: Cell<usize>,
    error: Cell<Option<VariantError>>,
}

impl Budget {
    fn take<E: Error>(&self, bytes: usize) -> Result<(), E> {
        match self.bytes.get().checked_sub(bytes) {
            Some(left) => {
                self.bytes.set(left);
                Ok(())
            }
            None => Err(self.fail(VariantError::TooBig { max: self.max })),
        }
    }

    /// Keeps the error here, since the deserializer's error type cannot carry it.
    fn fail<E: Error>(&self, error: VariantError) -> E {
        let text = E::custom(&error);
        self.error.set(Some(error));
        text
    }
}

/// A value of this signature.
#[derive(Clone, Copy)]
struct Value<'a> {
    signature: &'a Signature,
    budget: &'a Budget,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Term;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Term, D::Error> {
        self.budget.take(1)?;
        match self.signature {
            Signature::Fd => Err(self.budget.fail(VariantError::FileDescriptor)),
            Signature::Array(child) if **child == Signature::U8 => {
                deserializer.deserialize_bytes(self)
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

macro_rules! integers {
    ($($visit:ident $type:ty),*) => {
        $(fn $visit<E: Error>(self, value: $type) -> Result<Term, E> {
            Ok(Term::from(value))
        })*
    };
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Term;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a D-Bus value of the type {}", self.signature)
    }

    integers!(visit_u8 u8, visit_i16 i16, visit_u16 u16, visit_i32 i32, visit_u32 u32);
    integers!(visit_i64 i64, visit_u64 u64, visit_bool bool, visit_f64 f64);

    fn visit_str<E: Error>(self, text: &str) -> Result<Term, E> {
        self.budget.take(text.len())?;
        Ok(Term::from(text))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Term, E> {
        self.budget.take(bytes.len())?;
        Ok(Term::Bytes(bytes.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Term, A::Error> {
        let budget = self.budget;
        match self.signature {
            Signature::Variant => {
                let missing = || A::Error::custom("a variant without a value");
                let signature = sequence.next_element::<Signature>()?.ok_or_else(missing)?;
                let value = Value { signature: &signature, budget };
                sequence.next_element_seed(value)?.ok_or_else(missing)
            }
            Signature::Array(child) => {
                let element = Value { signature: child.signature(), budget };
                let mut terms = Vec::new();
                while let Some(term) = sequence.next_element_seed(element)? {
                    terms.push(term);
                }
                Ok(Term::List(terms))
            }
            Signature::Structure(fields) => {
                let mut terms = Vec::new();
                for signature in fields.iter() {
                    let field = Value { signature, budget };
                    terms.extend(sequence.next_element_seed(field)?);
                }
                let is_like_escape =
                    fields.iter().eq([&Signature::ObjectPath, &Signature::Variant]);
                if is_like_escape {
                    unescape(terms).map_err(|error| budget.fail(error))
                } else {
                    Ok(Term::Tuple(terms))
                }
            }
            other => Err(A::Error::custom(format_args!("{other} is not a sequence"))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Term, A::Error> {
        let Signature::Dict { key, value } = self.signature else {
            return Err(A::Error::custom(format_args!("{} is not a dict", self.signature)));
        };
        let budget = self.budget;
        let key = Value { signature: key.signature(), budget };
        let value = Value { signature: value.signature(), budget };
        let mut entries = Vec::new();
        while let Some(entry) = map.next_key_seed(key)? {
            entries.push((entry, map.next_value_seed(value)?));
        }
        Ok(Term::Map(entries))
    }
}

/// The term of a structure `(ov)` with these fields: the escaped term, or a tuple if its path is not in
/// our namespace.
fn unescape(fields: Vec<Term>) -> Result<Term, VariantError> {
    let path = fields.first().and_then(Term::as_str).unwrap_or_default();
    if !path.starts_with(ESCAPES) {
        return Ok(Term::Tuple(fields));
    }
    let path = path.to_owned();
    let content = fields.into_iter().nth(1);
    let term = match (path.as_str(), content) {
        (NIL, Some(Term::Str(text))) if text.is_empty() => Some(Term::Nil),
        (INT, Some(Term::Str(digits))) => digits.parse().ok().map(Term::Int),
        (ATOM, Some(Term::Str(name))) => Some(Term::Atom(name)),
        (TEXT, Some(Term::Bytes(bytes))) => String::from_utf8(bytes).ok().map(Term::Str),
        (TUPLE, Some(Term::List(terms))) => Some(Term::Tuple(terms)),
        (MAP, Some(Term::List(pairs))) => {
            pairs.into_iter().map(pair).collect::<Option<_>>().map(Term::Map)
        }
        _ => None,
    };
    term.ok_or(VariantError::Escape(path))
}

fn pair(term: Term) -> Option<(Term, Term)> {
    let Term::Tuple(fields) = term else {
        return None;
    };
    let [key, value] = <[Term; 2]>::try_from(fields).ok()?;
    Some((key, value))
}
