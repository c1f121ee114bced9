//! Any serializable value to a [`Term`].

use std::fmt::Display;

use serde::ser::{self, Serialize};

use super::value::{Term, TermError};

/// Name of the newtype struct as which an atom passes through serde, so that a term inside a
/// user's own struct stays what it is. Other formats see the text alone.
const ATOM: &str = "$fedecks::Atom";

impl Term {
    /// The term of any serializable value.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self, TermError> {
        value.serialize(Serializer)
    }
}

impl ser::Error for TermError {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl Serialize for Term {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            // The narrow forms first: many formats know no integer of 128 bits.
            Self::Int(value) => {
                if let Ok(narrow) = i64::try_from(*value) {
                    serializer.serialize_i64(narrow)
                } else if let Ok(narrow) = u64::try_from(*value) {
                    serializer.serialize_u64(narrow)
                } else {
                    serializer.serialize_i128(*value)
                }
            }
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Str(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::Atom(name) => serializer.serialize_newtype_struct(ATOM, name),
            Self::List(items) => serializer.collect_seq(items),
            Self::Tuple(items) => {
                let mut tuple = serializer.serialize_tuple(items.len())?;
                for item in items {
                    ser::SerializeTuple::serialize_element(&mut tuple, item)?;
                }
                ser::SerializeTuple::end(tuple)
            }
            Self::Map(entries) => serializer.collect_map(entries.iter().map(|(k, v)| (k, v))),
        }
    }
}

struct Serializer;

impl ser::Serializer for Serializer {
    type Ok = Term;
    type Error = TermError;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Entries;
    type SerializeStruct = Entries;
    type SerializeStructVariant = Entries;

    fn serialize_bool(self, value: bool) -> Result<Term, TermError> {
        Ok(Term::Bool(value))
    }

    fn serialize_i8(self, value: i8) -> Result<Term, TermError> {
        Ok(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<Term, TermError> {
        Ok(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<Term, TermError> {
        Ok(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<Term, TermError> {
        Ok(value.into())
    }

    fn serialize_i128(self, value: i128) -> Result<Term, TermError> {
        Ok(value.into())
    }

    fn serialize_u8(self, value: u8) -> Result<Term, TermError> {
        Ok(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<Term, TermError> {
        Ok(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<Term, TermError> {
        Ok(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<Term, TermError> {
        Ok(value.into())
    }

    fn serialize_u128(self, value: u128) -> Result<Term, TermError> {
        i128::try_from(value)
            .map(Term::Int)
            .map_err(|_| TermError(format!("the integer {value} is above {}", i128::MAX)))
    }

    fn serialize_f32(self, value: f32) -> Result<Term, TermError> {
        Ok(Term::Float(value.into()))
    }

    fn serialize_f64(self, value: f64) -> Result<Term, TermError> {
        Ok(Term::Float(value))
    }

    fn serialize_char(self, value: char) -> Result<Term, TermError> {
        Ok(Term::Str(value.into()))
    }

    fn serialize_str(self, value: &str) -> Result<Term, TermError> {
        Ok(value.into())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Term, TermError> {
        Ok(Term::Bytes(value.to_vec()))
    }

    fn serialize_none(self) -> Result<Term, TermError> {
        Ok(Term::Nil)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Term, TermError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Term, TermError> {
        Ok(Term::Nil)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Term, TermError> {
        Ok(Term::Nil)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Term, TermError> {
        Ok(variant.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Term, TermError> {
        let term = value.serialize(self)?;
        match term.as_str() {
            Some(text) if name == ATOM => Ok(Term::Atom(text.to_owned())),
            _ => Ok(term),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Term, TermError> {
        Ok(with_content(variant, value.serialize(self)?))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Items, TermError> {
        Ok(Items::new(Term::List, len))
    }

    fn serialize_tuple(self, len: usize) -> Result<Items, TermError> {
        Ok(Items::new(Term::Tuple, Some(len)))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items, TermError> {
        Ok(Items::new(Term::Tuple, Some(len)))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Items, TermError> {
        Ok(Items { variant: Some(variant), ..Items::new(Term::Tuple, Some(len)) })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Entries, TermError> {
        Ok(Entries::new(len))
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Entries, TermError> {
        Ok(Entries::new(Some(len)))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Entries, TermError> {
        Ok(Entries { variant: Some(variant), ..Entries::new(Some(len)) })
    }
}

fn with_content(variant: &str, content: Term) -> Term {
    Term::Map(vec![(variant.into(), content)])
}

/// How much space a collection gets on its own word, in items.
const FIRST_CAPACITY: usize = 1024;

/// A list or a tuple in the making.
struct Items {
    items: Vec<Term>,
    whole: fn(Vec<Term>) -> Term,
    variant: Option<&'static str>,
}

impl Items {
    fn new(whole: fn(Vec<Term>) -> Term, len: Option<usize>) -> Self {
        Self {
            items: Vec::with_capacity(len.unwrap_or(0).min(FIRST_CAPACITY)),
            whole,
            variant: None,
        }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TermError> {
        self.items.push(value.serialize(Serializer)?);
        Ok(())
    }

    fn finish(self) -> Term {
        let term = (self.whole)(self.items);
        match self.variant {
            Some(variant) => with_content(variant, term),
            None => term,
        }
    }
}

impl ser::SerializeSeq for Items {
    type Ok = Term;
    type Error = TermError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TermError> {
        self.push(value)
    }

    fn end(self) -> Result<Term, TermError> {
        Ok(self.finish())
    }
}

impl ser::SerializeTuple for Items {
    type Ok = Term;
    type Error = TermError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TermError> {
        self.push(value)
    }

    fn end(self) -> Result<Term, TermError> {
        Ok(self.finish())
    }
}

impl ser::SerializeTupleStruct for Items {
    type Ok = Term;
    type Error = TermError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TermError> {
        self.push(value)
    }

    fn end(self) -> Result<Term, TermError> {
        Ok(self.finish())
    }
}

impl ser::SerializeTupleVariant for Items {
    type Ok = Term;
    type Error = TermError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TermError> {
        self.push(value)
    }

    fn end(self) -> Result<Term, TermError> {
        Ok(self.finish())
    }
}

/// A map in the making.
struct Entries {
    entries: Vec<(Term, Term)>,
    key: Option<Term>,
    variant: Option<&'static str>,
}

impl Entries {
    fn new(len: Option<usize>) -> Self {
        Self {
            entries: Vec::with_capacity(len.unwrap_or(0).min(FIRST_CAPACITY)),
            key: None,
            variant: None,
        }
    }

    fn push<T: Serialize + ?Sized>(&mut self, key: Term, value: &T) -> Result<(), TermError> {
        self.entries.push((key, value.serialize(Serializer)?));
        Ok(())
    }

    fn finish(self) -> Term {
        let term = Term::Map(self.entries);
        match self.variant {
            Some(variant) => with_content(variant, term),
            None => term,
        }
    }
}

impl ser::SerializeMap for Entries {
    type Ok = Term;
    type Error = TermError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), TermError> {
        self.key = Some(key.serialize(Serializer)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TermError> {
        let key = self.key.take().ok_or_else(|| TermError("a map value without a key".into()))?;
        self.push(key, value)
    }

    fn end(self) -> Result<Term, TermError> {
        Ok(self.finish())
    }
}

impl ser::SerializeStruct for Entries {
    type Ok = Term;
    type Error = TermError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), TermError> {
        self.push(key.into(), value)
    }

    fn end(self) -> Result<Term, TermError> {
        Ok(self.finish())
    }
}

impl ser::SerializeStructVariant for Entries {
    type Ok = Term;
    type Error = TermError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), TermError> {
        self.push(key.into(), value)
    }

    fn end(self) -> Result<Term, TermError> {
        Ok(self.finish())
    }
}
