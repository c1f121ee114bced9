//! Decodes a term from D-Bus.

use std::cell::Cell;
use std::fmt;

use fedecks_protocol::{Budget, Limits, OverBudget, Term};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use zbus::zvariant::Signature;

use super::error::VariantError;
use super::escape::{ATOM, ESCAPES, INT, MAP, NIL, TEXT, TUPLE};

/// Reads a value of this signature within the limits. For the size, each nested value, and each byte of
/// strings and byte arrays, counts as one byte, which is less than any dialect needs for it. What the term
/// takes in memory is compared with its limit before it is allocated.
///
/// After an error, the deserializer is left in the middle of the value.
pub(super) fn read<'de, D: Deserializer<'de>>(
    signature: &Signature,
    limits: &Limits,
    deserializer: D,
) -> Result<Result<Term, VariantError>, D::Error> {
    let max = limits.max_size;
    let memory = Budget::new(limits);
    let reading = Reading { max, bytes: Cell::new(max), memory, error: Cell::new(None) };
    match (Value { signature, reading: &reading }).deserialize(deserializer) {
        Ok(term) => Ok(Ok(term)),
        Err(error) => reading.error.take().map(Err).ok_or(error),
    }
}

/// What may still be read, and the error that has ended the reading.
struct Reading {
    max: usize,
    bytes: Cell<usize>,
    memory: Budget,
    error: Cell<Option<VariantError>>,
}

impl Reading {
    fn take<E: Error>(&self, bytes: usize) -> Result<(), E> {
        match self.bytes.get().checked_sub(bytes) {
            Some(left) => {
                self.bytes.set(left);
                Ok(())
            }
            None => Err(self.fail(VariantError::TooBig { max: self.max })),
        }
    }

    /// Takes the bytes of a text or of bytes, which are going to be copied.
    fn copy<E: Error>(&self, bytes: usize) -> Result<(), E> {
        self.take(bytes)?;
        self.memory.take_text(bytes).map_err(|over| self.over(over))
    }

    fn grow<T, E: Error>(&self, items: &mut Vec<T>) -> Result<(), E> {
        self.memory.grow(items).map_err(|over| self.over(over))
    }

    fn over<E: Error>(&self, over: OverBudget) -> E {
        self.fail(match over {
            OverBudget::TooHeavy { weight, limit } => VariantError::TooHeavy { weight, limit },
            OverBudget::TooDeep { limit: _ } => VariantError::TooDeep,
        })
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
    reading: &'a Reading,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Term;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Term, D::Error> {
        self.reading.take(1)?;
        self.reading.memory.enter().map_err(|over| self.reading.over(over))?;
        let term = match self.signature {
            Signature::Fd => Err(self.reading.fail(VariantError::FileDescriptor)),
            Signature::Array(child) if **child == Signature::U8 => {
                deserializer.deserialize_bytes(self)
            }
            _ => deserializer.deserialize_any(self),
        };
        self.reading.memory.leave();
        term
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
        self.reading.copy(text.len())?;
        Ok(Term::from(text))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Term, E> {
        self.reading.copy(bytes.len())?;
        Ok(Term::Bytes(bytes.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Term, A::Error> {
        let reading = self.reading;
        match self.signature {
            Signature::Variant => {
                let missing = || A::Error::custom("a variant without a value");
                let signature = sequence.next_element::<Signature>()?.ok_or_else(missing)?;
                let value = Value { signature: &signature, reading };
                sequence.next_element_seed(value)?.ok_or_else(missing)
            }
            Signature::Array(child) => {
                let element = Value { signature: child.signature(), reading };
                let mut terms = Vec::new();
                while let Some(term) = sequence.next_element_seed(element)? {
                    reading.grow(&mut terms)?;
                    terms.push(term);
                }
                Ok(Term::List(terms))
            }
            Signature::Structure(fields) => {
                let mut terms = Vec::new();
                for signature in fields.iter() {
                    let field = Value { signature, reading };
                    reading.grow(&mut terms)?;
                    terms.extend(sequence.next_element_seed(field)?);
                }
                let is_like_escape =
                    fields.iter().eq([&Signature::ObjectPath, &Signature::Variant]);
                if is_like_escape { unescape(terms, reading) } else { Ok(Term::Tuple(terms)) }
            }
            other => Err(A::Error::custom(format_args!("{other} is not a sequence"))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Term, A::Error> {
        let Signature::Dict { key, value } = self.signature else {
            return Err(A::Error::custom(format_args!("{} is not a dict", self.signature)));
        };
        let reading = self.reading;
        let key = Value { signature: key.signature(), reading };
        let value = Value { signature: value.signature(), reading };
        let mut entries = Vec::new();
        while let Some(entry) = map.next_key_seed(key)? {
            let value = map.next_value_seed(value)?;
            reading.grow(&mut entries)?;
            entries.push((entry, value));
        }
        Ok(Term::Map(entries))
    }
}

/// The term of a structure `(ov)` with these fields: the escaped term, or a tuple if its path is not in
/// our namespace.
fn unescape<E: Error>(fields: Vec<Term>, reading: &Reading) -> Result<Term, E> {
    let path = fields.first().and_then(Term::as_str).unwrap_or_default();
    if !path.starts_with(ESCAPES) {
        return Ok(Term::Tuple(fields));
    }
    // What is free at the end: the structure, and the path in it.
    let structure = Budget::grown(&fields);
    let mut fields = fields.into_iter();
    let Some(Term::Str(path)) = fields.next() else { return Ok(Term::Nil) };
    let term = match (path.as_str(), fields.next()) {
        (NIL, Some(Term::Str(text))) if text.is_empty() => Some(Term::Nil),
        (INT, Some(Term::Str(digits))) => digits.parse().ok().map(Term::Int),
        (ATOM, Some(Term::Str(name))) => Some(Term::Atom(name)),
        (TEXT, Some(Term::Bytes(bytes))) => String::from_utf8(bytes).ok().map(Term::Str),
        (TUPLE, Some(Term::List(terms))) => Some(Term::Tuple(terms)),
        (MAP, Some(Term::List(pairs))) => {
            let count = pairs.len().saturating_mul(2);
            reading.memory.take_terms(count).map_err(|over| reading.over(over))?;
            let mut entries = Vec::with_capacity(pairs.len());
            let complete =
                pairs.into_iter().all(|it| pair(it).map(|it| entries.push(it)).is_some());
            complete.then_some(Term::Map(entries))
        }
        _ => None,
    };
    reading.memory.give_back(structure + path.len() + Budget::ALLOCATION);
    term.ok_or_else(|| {
        let shown = path.chars().take(100).collect();
        reading.fail(VariantError::Escape(shown))
    })
}

fn pair(term: Term) -> Option<(Term, Term)> {
    let Term::Tuple(fields) = term else {
        return None;
    };
    let [key, value] = <[Term; 2]>::try_from(fields).ok()?;
    Some((key, value))
}
