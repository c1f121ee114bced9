//! [`Term`], the value of a message, and its conversions from and to serde and JSON.

/// The methods of a visitor that turn scalars into terms.
macro_rules! visit_scalars {
    () => {
        visit_scalars! {
            visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_f64: f64,
            visit_str: &str, visit_string: String
        }

        fn visit_unit<E>(self) -> Result<Term, E> {
            Ok(Term::Nil)
        }
    };
    ($($method:ident: $scalar:ty),*) => {
        $(fn $method<E>(self, value: $scalar) -> Result<Term, E> {
            Ok(value.into())
        })*
    };
}

mod de;
mod json;
mod json_escape;
mod ser;
mod value;
mod weight;

pub use json::{JsonReader, JsonTerm, LiteralJson};
pub use value::{Term, TermError};
