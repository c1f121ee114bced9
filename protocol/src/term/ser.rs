//! Converts any serializable value to a [`Term`].

use std::fmt::Display;

use serde::ser::{self, Serialize};

use super::value::{Term, TermError};

/// An atom passes through serde as a newtype struct of this name, so that a term inside a user's struct
/// does not change. Other formats see only the text.
const ATOM: &str = "$fedecks::Atom";

impl Term {
    /// Converts any serializable value.
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
            // The narrow types first: many formats do not support 128-bit integers.
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

macro_rules! serialize_scalars {
    ($($method:ident: $scalar:ty),*) => {
        $(fn $method(self, value: $scalar) -> Result<Term, TermError> {
            Ok(value.into())
        })*
    };
}

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

    serialize_scalars! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_i128: i128, serialize_u8: u8, serialize_u16: u16,
        serialize_u32: u32, serialize_u64: u64, serialize_f64: f64, serialize_str: &str
    }

    fn serialize_u128(self, value: u128) -> Result<Term, TermError> {
        i128::try_from(value)
            .map(Term::Int)
            .map_err(|_| TermError(format!("the integer {value} is above {}", i128::MAX)))
    }

    fn serialize_f32(self, value: f32) -> Result<Term, TermError> {
        Ok(Term::Float(value.into()))
    }

    fn serialize_char(self, value: char) -> Result<Term, TermError> {
        Ok(Term::Str(value.into()))
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
        Ok(Term::Map(vec![(variant.into(), value.serialize(self)?)]))
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
        Ok(Entries::new(Term::Map, len))
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Entries, TermError> {
        Ok(Entries::new(Term::Map, Some(len)))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Entries, TermError> {
        Ok(Entries { variant: Some(variant), ..Entries::new(Term::Map, Some(len)) })
    }
}

/// The most that is allocated for a collection because of the length that it claims, in items.
const MAX_PREALLOCATION: usize = 1024;

/// A collection under construction, and the variant whose content it is.
struct Collection<T> {
    items: Vec<T>,
    into_term: fn(Vec<T>) -> Term,
    variant: Option<&'static str>,
    /// The key of the next entry of a map.
    key: Option<Term>,
}

type Items = Collection<Term>;
type Entries = Collection<(Term, Term)>;

impl<T> Collection<T> {
    fn new(into_term: fn(Vec<T>) -> Term, len: Option<usize>) -> Self {
        let items = Vec::with_capacity(len.unwrap_or(0).min(MAX_PREALLOCATION));
        Self { items, into_term, variant: None, key: None }
    }

    fn finish(self) -> Term {
        let term = (self.into_term)(self.items);
        match self.variant {
            Some(variant) => Term::Map(vec![(variant.into(), term)]),
            None => term,
        }
    }
}

impl Items {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TermError> {
        self.items.push(value.serialize(Serializer)?);
        Ok(())
    }
}

impl Entries {
    fn push<T: Serialize + ?Sized>(&mut self, key: Term, value: &T) -> Result<(), TermError> {
        self.items.push((key, value.serialize(Serializer)?));
        Ok(())
    }
}

macro_rules! serialize_collections {
    ($($collection:ident: $compound:ident::$method:ident($($key:ident)?),)*) => {
        $(impl ser::$compound for $collection {
            type Ok = Term;
            type Error = TermError;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: &'static str,)?
                value: &T,
            ) -> Result<(), TermError> {
                self.push($($key.into(),)? value)
            }

            fn end(self) -> Result<Term, TermError> {
                Ok(self.finish())
            }
        })*
    };
}

serialize_collections! {
    Items: SerializeSeq::serialize_element(),
    Items: SerializeTuple::serialize_element(),
    Items: SerializeTupleStruct::serialize_field(),
    Items: SerializeTupleVariant::serialize_field(),
    Entries: SerializeStruct::serialize_field(key),
    Entries: SerializeStructVariant::serialize_field(key),
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
