//! Encodes a term for D-Bus, without an intermediate copy.

use std::collections::HashSet;

use fedecks_protocol::Term;
use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple};
use serde::{Serialize, Serializer};
use zbus::zvariant::ObjectPath;

use super::error::VariantError;
use super::escape::{ATOM, INT, MAP, NIL, TEXT, TUPLE};

/// From the D-Bus specification; counted like the reference implementation.
const MAX_LEVELS: usize = 64;

/// Number of fields of a structure whose signature, with two parentheses, has the maximum length.
pub(super) const MAX_FIELDS: usize = 253;

/// The representation of a term in a variant.
enum Form<'a> {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Str(&'a str),
    Bytes(&'a [u8]),
    List(&'a [Term]),
    /// A list of pairs.
    Pairs(&'a [(Term, Term)]),
    Fields(Vec<&'a Term>),
    Dict(&'a [(Term, Term)]),
    /// The digits of a number, as a string.
    Digits(i128),
    Escape(&'static str, Box<Form<'a>>),
}

/// A variant with this content.
struct InVariant<'a>(&'a Form<'a>);

/// The content without the variant.
struct Bare<'a>(&'a Form<'a>);

pub(super) fn variant<S: Serializer>(term: &Term, serializer: S) -> Result<S::Ok, S::Error> {
    InVariant(&Form::of(term)).serialize(serializer)
}

pub(super) fn dictionary<S: Serializer>(
    entries: &[(Term, Term)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    Bare(&Form::Dict(entries)).serialize(serializer)
}

/// The first key that is not allowed in `a{sv}`, in words.
pub(super) fn invalid_key(entries: &[(Term, Term)]) -> Option<String> {
    let mut seen = HashSet::with_capacity(entries.len());
    for (key, _) in entries {
        match key {
            Term::Str(text) if text.contains('\0') => {
                return Some("a string with a NUL".to_owned());
            }
            Term::Str(text) if seen.insert(text.as_str()) => {}
            Term::Str(text) => return Some(format!("{text:?} is given more than once")),
            _ => return Some(key.kind().to_owned()),
        }
    }
    None
}

/// Checks that a variant with this term is allowed at this level. Every variant, array, structure and
/// dict entry is a level.
pub(super) fn check_levels(term: &Term, level: usize) -> Result<(), VariantError> {
    check_form(&Form::of(term), level)
}

fn check_form(form: &Form<'_>, level: usize) -> Result<(), VariantError> {
    let inside = level + 1;
    match form {
        Form::Bytes(_) => enter(inside + 1).map(drop),
        Form::List(terms) => each(terms.iter(), enter(inside + 1)?),
        Form::Pairs(pairs) => pairs.iter().try_for_each(|(key, value)| {
            // Within the array, the pair's variant and its structure.
            each([key, value].into_iter(), enter(inside + 3)?)
        }),
        Form::Fields(terms) => each(terms.iter().copied(), enter(inside + 1)?),
        Form::Dict(entries) => each(entries.iter().map(|(_, value)| value), enter(inside + 2)?),
        Form::Escape(_, content) => check_form(content, enter(inside + 1)?),
        _ => enter(inside).map(drop),
    }
}

fn each<'a>(mut terms: impl Iterator<Item = &'a Term>, level: usize) -> Result<(), VariantError> {
    terms.try_for_each(|term| check_levels(term, level))
}

fn enter(level: usize) -> Result<usize, VariantError> {
    if level <= MAX_LEVELS { Ok(level) } else { Err(VariantError::TooDeep) }
}

impl<'a> Form<'a> {
    fn of(term: &'a Term) -> Self {
        match term {
            Term::Nil => Self::escape(NIL, Self::Str("")),
            Term::Bool(value) => Self::Bool(*value),
            Term::Int(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => Self::Signed(number),
                (Err(_), Ok(number)) => Self::Unsigned(number),
                (Err(_), Err(_)) => Self::escape(INT, Self::Digits(*number)),
            },
            Term::Float(number) => Self::Float(*number),
            Term::Str(text) => Self::text(text),
            Term::Bytes(bytes) => Self::Bytes(bytes),
            Term::Atom(name) => Self::escape(ATOM, Self::text(name)),
            Term::List(terms) => Self::List(terms),
            Term::Tuple(terms) if (1..=MAX_FIELDS).contains(&terms.len()) => {
                Self::Fields(terms.iter().collect())
            }
            Term::Tuple(terms) => Self::escape(TUPLE, Self::List(terms)),
            Term::Map(entries) if invalid_key(entries).is_none() => Self::Dict(entries),
            Term::Map(entries) => Self::escape(MAP, Self::Pairs(entries)),
        }
    }

    fn escape(path: &'static str, content: Self) -> Self {
        Self::Escape(path, Box::new(content))
    }

    fn text(text: &'a str) -> Self {
        if text.contains('\0') {
            Self::escape(TEXT, Self::Bytes(text.as_bytes()))
        } else {
            Self::Str(text)
        }
    }
}

impl Serialize for InVariant<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // zvariant expects a variant as a structure: first the signature, then the value.
        let mut variant = serializer.serialize_struct("Variant", 2)?;
        match &self.0 {
            Form::Bool(_) => variant.serialize_field("signature", "b")?,
            Form::Signed(_) => variant.serialize_field("signature", "x")?,
            Form::Unsigned(_) => variant.serialize_field("signature", "t")?,
            Form::Float(_) => variant.serialize_field("signature", "d")?,
            Form::Str(_) | Form::Digits(_) => variant.serialize_field("signature", "s")?,
            Form::Bytes(_) => variant.serialize_field("signature", "ay")?,
            Form::List(_) | Form::Pairs(_) => variant.serialize_field("signature", "av")?,
            Form::Fields(terms) => {
                let signature = format!("({})", "v".repeat(terms.len()));
                variant.serialize_field("signature", &signature)?;
            }
            Form::Dict(_) => variant.serialize_field("signature", "a{sv}")?,
            Form::Escape(..) => variant.serialize_field("signature", "(ov)")?,
        }
        variant.serialize_field("value", &Bare(self.0))?;
        variant.end()
    }
}

impl Serialize for Bare<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Form::Bool(value) => serializer.serialize_bool(*value),
            Form::Signed(number) => serializer.serialize_i64(*number),
            Form::Unsigned(number) => serializer.serialize_u64(*number),
            Form::Float(number) => serializer.serialize_f64(*number),
            Form::Str(text) => serializer.serialize_str(text),
            Form::Digits(number) => serializer.serialize_str(&number.to_string()),
            Form::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Form::List(terms) => {
                let mut list = serializer.serialize_seq(Some(terms.len()))?;
                for term in *terms {
                    list.serialize_element(&InVariant(&Form::of(term)))?;
                }
                list.end()
            }
            Form::Pairs(pairs) => {
                let mut list = serializer.serialize_seq(Some(pairs.len()))?;
                for (key, value) in *pairs {
                    list.serialize_element(&InVariant(&Form::Fields(vec![key, value])))?;
                }
                list.end()
            }
            Form::Fields(terms) => {
                let mut fields = serializer.serialize_tuple(terms.len())?;
                for term in terms {
                    fields.serialize_element(&InVariant(&Form::of(term)))?;
                }
                fields.end()
            }
            Form::Dict(entries) => {
                let mut dict = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in *entries {
                    dict.serialize_entry(
                        key.as_str().unwrap_or_default(),
                        &InVariant(&Form::of(value)),
                    )?;
                }
                dict.end()
            }
            Form::Escape(path, content) => {
                let mut escape = serializer.serialize_tuple(2)?;
                escape.serialize_element(&ObjectPath::from_static_str_unchecked(path))?;
                escape.serialize_element(&InVariant(content))?;
                escape.end()
            }
        }
    }
}
