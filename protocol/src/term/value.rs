//! The value that travels.

/// A value that describes itself, so that old firmware and a new cloud still understand each other.
///
/// Any serde value becomes a term by [`Term::from_serialize`] and is read back by
/// [`Term::deserialize`]:
///
/// | Rust | term |
/// |---|---|
/// | `()`, `None`, unit struct | `Nil` |
/// | `Some(x)`, newtype struct | the term of `x` |
/// | `bool` | `Bool` |
/// | every integer up to `i128` | `Int` (a `u128` above `i128::MAX` is an error) |
/// | `f32`, `f64` | `Float` |
/// | `char`, `&str`, `String`, unit variant | `Str` |
/// | bytes (`serde_bytes` and the like) | `Bytes` |
/// | `Vec`, slice, set | `List` |
/// | tuple, array, tuple struct | `Tuple` |
/// | map, struct | `Map` (a struct's keys are `Str`) |
/// | variant with content | `Map` with one entry: the variant's name and its content |
///
/// `Some(None)` becomes `Nil` and comes back as `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Term {
    /// Nothing.
    #[default]
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A binary floating-point number of 64 bits.
    Float(f64),
    /// Text.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A name, as Erlang's atoms are. No Rust value becomes one by itself; it reads as text.
    Atom(String),
    /// Any number of values.
    List(Vec<Term>),
    /// A fixed number of values that belong together.
    Tuple(Vec<Term>),
    /// Pairs of key and value in the order in which they were written.
    Map(Vec<(Term, Term)>),
}

/// Why a value did not become a term, or a term did not become a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TermError(pub(super) String);

impl Term {
    /// What the term is, for messages to people: `"an integer"`, `"a map"`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Str(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::Atom(_) => "an atom",
            Self::List(_) => "a list",
            Self::Tuple(_) => "a tuple",
            Self::Map(_) => "a map",
        }
    }

    /// The text of a `Str` or an `Atom`.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) | Self::Atom(text) => Some(text),
            Self::Nil
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Bytes(_)
            | Self::List(_)
            | Self::Tuple(_)
            | Self::Map(_) => None,
        }
    }

    /// The number of an `Int`.
    pub fn as_int(&self) -> Option<i128> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    /// The value under the text `key` of a `Map`.
    pub fn get(&self, key: &str) -> Option<&Term> {
        let Self::Map(entries) = self else {
            return None;
        };
        entries.iter().find(|(known, _)| known.as_str() == Some(key)).map(|(_, value)| value)
    }
}

impl From<()> for Term {
    fn from((): ()) -> Self {
        Self::Nil
    }
}

impl From<bool> for Term {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

macro_rules! from_integers {
    ($($integer:ty),*) => {
        $(impl From<$integer> for Term {
            fn from(value: $integer) -> Self {
                Self::Int(i128::from(value))
            }
        })*
    };
}
from_integers!(i8, i16, i32, i64, i128, u8, u16, u32, u64);

impl From<f64> for Term {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Term {
    fn from(value: &str) -> Self {
        Self::Str(value.to_owned())
    }
}

impl From<String> for Term {
    fn from(value: String) -> Self {
        Self::Str(value)
    }
}

impl<T: Into<Term>> From<Vec<T>> for Term {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Term>, const N: usize> From<[T; N]> for Term {
    fn from(values: [T; N]) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}
