//! From D-Bus to a term.

use std::cell::Cell;
use std::fmt;

use fedecks_protocol::Term;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use zbus::zvariant::Signature;

use super::error::VariantError;
use super::escape::{ATOM, ESCAPES, INT, MAP, NIL, TEXT, TUPLE};

/// Reads a value of this signature. Each value in it, and each byte of its texts and bytes, counts as
/// one byte, which is less than any dialect needs for it; together they are at most `max`.
///
/// Where the outcome is an error, the deserializer is left in the middle of the value.
pub(super) fn read<'de, D: Deserializer<'de>>(
    signature: &Signature,
    max: usize,
    deserializer: D,
) -> Result<Result<Term, VariantError>, D::Error> {
    let left = Left { max, bytes: Cell::new(max), error: Cell::new(None) };
    match (Value { signature, left: &left }).deserialize(deserializer) {
        Ok(term) => Ok(Ok(term)),
        Err(error) => left.error.take().map(Err).ok_or(error),
    }
}

/// What may still come, and what was wrong with what came.
struct Left {
    max: usize,
    bytes: Cell<usize>,
    error: Cell<Option<VariantError>>,
}

impl Left {
    fn take<E: Error>(&self, bytes: usize) -> Result<(), E> {
        match self.bytes.get().checked_sub(bytes) {
            Some(left) => {
                self.bytes.set(left);
                Ok(())
            }
            None => Err(self.fail(VariantError::TooBig { max: self.max })),
        }
    }

    /// Sets the error aside, as the library's own has no place for it.
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
    left: &'a Left,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Term;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Term, D::Error> {
        self.left.take(1)?;
        match self.signature {
            Signature::Fd => Err(self.left.fail(VariantError::FileDescriptor)),
            Signature::Array(child) if **child == Signature::U8 => {
                deserializer.deserialize_bytes(self)
            }
            Signature::Unit
            | Signature::U8
            | Signature::Bool
            | Signature::I16
            | Signature::U16
            | Signature::I32
            | Signature::U32
            | Signature::I64
            | Signature::U64
            | Signature::F64
            | Signature::Str
            | Signature::Signature
            | Signature::ObjectPath
            | Signature::Variant
            | Signature::Array(_)
            | Signature::Dict { .. }
            | Signature::Structure(_) => deserializer.deserialize_any(self),
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
        self.left.take(text.len())?;
        Ok(Term::from(text))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Term, E> {
        self.left.take(bytes.len())?;
        Ok(Term::Bytes(bytes.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Term, A::Error> {
        let left = self.left;
        match self.signature {
            Signature::Variant => {
                let missing = || A::Error::custom("a variant without a value");
                let signature = sequence.next_element::<Signature>()?.ok_or_else(missing)?;
                let value = Value { signature: &signature, left };
                sequence.next_element_seed(value)?.ok_or_else(missing)
            }
            Signature::Array(child) => {
                let element = Value { signature: child.signature(), left };
                let mut terms = Vec::new();
                while let Some(term) = sequence.next_element_seed(element)? {
                    terms.push(term);
                }
                Ok(Term::List(terms))
            }
            Signature::Structure(fields) => {
                let mut terms = Vec::new();
                for signature in fields.iter() {
                    let field = Value { signature, left };
                    terms.extend(sequence.next_element_seed(field)?);
                }
                let is_like_escape =
                    fields.iter().eq([&Signature::ObjectPath, &Signature::Variant]);
                if is_like_escape {
                    escape(terms).map_err(|error| left.fail(error))
                } else {
                    Ok(Term::Tuple(terms))
                }
            }
            Signature::Unit
            | Signature::U8
            | Signature::Bool
            | Signature::I16
            | Signature::U16
            | Signature::I32
            | Signature::U32
            | Signature::I64
            | Signature::U64
            | Signature::F64
            | Signature::Str
            | Signature::Signature
            | Signature::ObjectPath
            | Signature::Dict { .. }
            | Signature::Fd => {
                Err(A::Error::custom(format_args!("{} is no sequence", self.signature)))
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Term, A::Error> {
        let Signature::Dict { key, value } = self.signature else {
            return Err(A::Error::custom(format_args!("{} is no dict", self.signature)));
        };
        let left = self.left;
        let key = Value { signature: key.signature(), left };
        let value = Value { signature: value.signature(), left };
        let mut entries = Vec::new();
        while let Some(entry) = map.next_key_seed(key)? {
            entries.push((entry, map.next_value_seed(value)?));
        }
        Ok(Term::Map(entries))
    }
}

/// The term of a structure `(ov)` with these fields: what is escaped in it, or a tuple if its path is
/// not one of ours.
fn escape(fields: Vec<Term>) -> Result<Term, VariantError> {
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
