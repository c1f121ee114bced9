//! [`Term`], the value that travels, and its ways from and to serde and JSON.

mod de;
mod json;
mod ser;
mod value;

pub use json::JsonTerm;
pub use value::{Term, TermError};
