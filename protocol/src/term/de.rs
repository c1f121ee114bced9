//! Converts a [`Term`] to any deserializable value.

use std::fmt::{self, Display};

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserialize, IntoDeserializer, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::value::{Term, TermError};

/// A [`Term`] deserializes itself as a newtype struct of this name. Our deserializer answers with the
/// exact kind of term; any other format treats it like any newtype struct.
const TERM: &str = "$fedecks::Term";

/// The kinds that serde's data model does not have: it has sequences for tuples, texts for atoms.
const TUPLE: &str = "Tuple";
const ATOM: &str = "Atom";

impl Term {
    /// Converts the term to a `T`, if it has the right shape. Borrows from the term where `T` can.
    pub fn parse<'de, T: Deserialize<'de>>(&'de self) -> Result<T, TermError> {
        T::deserialize(Deserializer(self))
    }
}

impl de::Error for TermError {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct Deserializer<'de>(&'de Term);

impl<'de> IntoDeserializer<'de, TermError> for Deserializer<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn seq(
    items: &[Term],
) -> SeqDeserializer<impl ExactSizeIterator<Item = Deserializer<'_>>, TermError> {
    SeqDeserializer::new(items.iter().map(Deserializer))
}

fn map(
    entries: &[(Term, Term)],
) -> MapDeserializer<
    '_,
    impl ExactSizeIterator<Item = (Deserializer<'_>, Deserializer<'_>)>,
    TermError,
> {
    MapDeserializer::new(
        entries.iter().map(|(key, value)| (Deserializer(key), Deserializer(value))),
    )
}

impl<'de> de::Deserializer<'de> for Deserializer<'de> {
    type Error = TermError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TermError> {
        match self.0 {
            Term::Nil => visitor.visit_unit(),
            Term::Bool(value) => visitor.visit_bool(*value),
            Term::Int(value) => {
                if let Ok(narrow) = i64::try_from(*value) {
                    visitor.visit_i64(narrow)
                } else if let Ok(narrow) = u64::try_from(*value) {
                    visitor.visit_u64(narrow)
                } else {
                    visitor.visit_i128(*value)
                }
            }
            Term::Float(value) => visitor.visit_f64(*value),
            Term::Str(text) | Term::Atom(text) => visitor.visit_borrowed_str(text),
            Term::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Term::List(items) | Term::Tuple(items) => {
                let mut access = seq(items);
                let value = visitor.visit_seq(&mut access)?;
                access.end().map(|()| value)
            }
            Term::Map(entries) => {
                let mut access = map(entries);
                let value = visitor.visit_map(&mut access)?;
                access.end().map(|()| value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TermError> {
        if *self.0 == Term::Nil { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TermError> {
        if name == TERM && matches!(self.0, Term::Tuple(_) | Term::Atom(_)) {
            visitor.visit_enum(Exact(self.0))
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TermError> {
        if let Some(name) = self.0.as_str() {
            return visitor.visit_enum(Variant { name, content: None });
        }
        let Term::Map(entries) = self.0 else {
            return Err(TermError(format!(
                "expected a variant: a text, or a map with one text key, found {}",
                self.0.kind()
            )));
        };
        if let [(name, content)] = entries.as_slice() {
            if let Some(name) = name.as_str() {
                return visitor.visit_enum(Variant { name, content: Some(content) });
            }
        }
        Err(TermError(format!(
            "expected a variant: a map with one text key, found a map with {} entries",
            entries.len()
        )))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TermError> {
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf unit seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Variant<'de> {
    name: &'de str,
    content: Option<&'de Term>,
}

impl<'de> Variant<'de> {
    fn content(&self) -> Result<&'de Term, TermError> {
        self.content.ok_or_else(|| TermError(format!("the variant {:?} has no content", self.name)))
    }
}

impl<'de> de::EnumAccess<'de> for Variant<'de> {
    type Error = TermError;
    type Variant = Self;

    fn variant_seed<V: de::DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), TermError> {
        let name = seed.deserialize(de::value::BorrowedStrDeserializer::new(self.name))?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = TermError;

    fn unit_variant(self) -> Result<(), TermError> {
        match self.content {
            None | Some(Term::Nil) => Ok(()),
            Some(other) => Err(TermError(format!(
                "the variant {:?} takes no content, found {}",
                self.name,
                other.kind()
            ))),
        }
    }

    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, TermError> {
        seed.deserialize(Deserializer(self.content()?))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, TermError> {
        de::Deserializer::deserialize_any(Deserializer(self.content()?), visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TermError> {
        de::Deserializer::deserialize_any(Deserializer(self.content()?), visitor)
    }
}

/// A tuple or an atom for a [`Term`], passed as a variant so that it does not become a list or a text.
struct Exact<'de>(&'de Term);

impl<'de> de::EnumAccess<'de> for Exact<'de> {
    type Error = TermError;
    type Variant = Variant<'de>;

    fn variant_seed<V: de::DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Variant<'de>), TermError> {
        let name = if matches!(self.0, Term::Tuple(_)) { TUPLE } else { ATOM };
        let variant = Variant { name, content: Some(self.0) };
        de::EnumAccess::variant_seed(variant, seed)
    }
}

impl<'de> Deserialize<'de> for Term {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TERM, TermVisitor)
    }
}

struct TermVisitor;

impl<'de> Visitor<'de> for TermVisitor {
    type Value = Term;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    visit_scalars!();

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Term, E> {
        i128::try_from(value)
            .map(Term::Int)
            .map_err(|_| E::custom(format_args!("the integer {value} is above {}", i128::MAX)))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Term, E> {
        Ok(Term::Bytes(value.to_vec()))
    }

    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Term, E> {
        Ok(Term::Bytes(value))
    }

    fn visit_none<E>(self) -> Result<Term, E> {
        Ok(Term::Nil)
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Term, D::Error> {
        <Term as Deserialize>::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: de::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Term, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut access: A) -> Result<Term, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Term::List(items))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut access: A) -> Result<Term, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Term::Map(entries))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, access: A) -> Result<Term, A::Error> {
        let (name, content) = access.variant::<String>()?;
        if name == ATOM {
            content.newtype_variant().map(Term::Atom)
        } else {
            content.newtype_variant().map(Term::Tuple)
        }
    }
}
