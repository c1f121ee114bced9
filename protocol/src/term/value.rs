//! [`Term`], the value of a message. Its conversions are in the files next to this one.

/// A self-describing value, so that old firmware and a new cloud still understand each other.
///
/// [`Term::from_serialize`] converts any serde value to a term, [`Term::parse`] converts it back:
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
/// | variant with content | `Map` with one entry: the variant's name to its content |
///
/// `Some(None)` becomes `Nil` and comes back as `None`.
///
/// ```
/// # use fedecks_protocol as fedecks_device;
/// use fedecks_device::Term;
///
/// let term = Term::from_serialize(&("temperature", 21.5))?;
/// assert_eq!(term, Term::Tuple(vec![Term::Str("temperature".into()), Term::Float(21.5)]));
/// assert_eq!(term.parse::<(String, f64)>()?, ("temperature".to_owned(), 21.5));
/// # Ok::<(), fedecks_device::TermError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Term {
    /// Nothing.
    #[default]
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A 64-bit binary floating-point number.
    Float(f64),
    /// Text.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A name, like an atom in Erlang. No Rust value is converted to one; it deserializes as text.
    Atom(String),
    /// Any number of values.
    List(Vec<Term>),
    /// A fixed number of values.
    Tuple(Vec<Term>),
    /// Key-value pairs in the order in which they were written.
    Map(Vec<(Term, Term)>),
}

/// Why a value could not be converted to a term, or a term to a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TermError(pub(super) String);

impl Term {
    /// The kind of term, for messages to people: `"an integer"`, `"a map"`.
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
        if let Self::Str(text) | Self::Atom(text) = self { Some(text) } else { None }
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

macro_rules! from_scalars {
    ($($scalar:ty => $variant:ident),*) => {
        $(impl From<$scalar> for Term {
            fn from(value: $scalar) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

from_scalars! {
    bool => Bool, f64 => Float, &str => Str, String => Str,
    i8 => Int, i16 => Int, i32 => Int, i64 => Int, i128 => Int,
    u8 => Int, u16 => Int, u32 => Int, u64 => Int
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
