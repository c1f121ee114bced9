//! The escapes of JSON: objects with a single key that begins with `$`, for what JSON lacks.

use std::fmt;

use data_encoding::BASE64;

use super::value::Term;
use crate::budget::Budget;

/// The term that the object `{name: content}` stands for.
pub(super) fn escaped(name: &str, content: Term, budget: &Budget) -> Result<Term, String> {
    let wrong = |expected: &str, content: &Term| {
        Err(format!("{name} must be {expected}, not {}", content.kind()))
    };
    match (name, content) {
        ("$int", Term::Str(digits)) => match digits.parse() {
            Ok(number) => Ok(Term::Int(number)),
            Err(_) => Err(format!(
                "$int must be a whole number of at most 128 bits, not {}",
                Shown(&digits)
            )),
        },
        ("$int", content) => wrong("a string of digits", &content),
        ("$float", Term::Str(text)) => match text.as_str() {
            "NaN" => Ok(Term::Float(f64::NAN)),
            "Infinity" => Ok(Term::Float(f64::INFINITY)),
            "-Infinity" => Ok(Term::Float(f64::NEG_INFINITY)),
            _ => Err(format!("$float must be NaN, Infinity or -Infinity, not {}", Shown(&text))),
        },
        ("$float", content) => wrong("NaN, Infinity or -Infinity", &content),
        ("$bytes", Term::Str(text)) => {
            budget.take(text.len()).map_err(|over| over.to_string())?;
            match BASE64.decode(text.as_bytes()) {
                Ok(bytes) => {
                    budget.give_back(text.len());
                    Ok(Term::Bytes(bytes))
                }
                Err(error) => Err(format!("$bytes must be base64 with padding: {error}")),
            }
        }
        ("$bytes", content) => wrong("a base64 string", &content),
        ("$atom", Term::Str(name)) => Ok(Term::Atom(name)),
        ("$atom", content) => wrong("a string", &content),
        ("$tuple", Term::List(terms)) => Ok(Term::Tuple(terms)),
        ("$tuple", content) => wrong("a list", &content),
        ("$map", Term::List(pairs)) => {
            budget.take_terms(pairs.len().saturating_mul(2)).map_err(|over| over.to_string())?;
            let mut entries = Vec::with_capacity(pairs.len());
            for pair in pairs {
                let pair = if let Term::List(pair) = pair { pair.try_into().ok() } else { None };
                let pair: Option<[Term; 2]> = pair;
                let Some(pair) = pair else {
                    return Err("$map must be a list of pairs [key, value]".to_owned());
                };
                entries.push(pair.into());
            }
            Ok(Term::Map(entries))
        }
        ("$map", content) => wrong("a list of pairs [key, value]", &content),
        (_, _) => Err(format!(
            "unknown escape {shown} (known: $atom, $bytes, $float, $int, $map, $tuple); for a literal key \
             write {{\"$map\": [[{shown}, …]]}}",
            shown = Shown(name)
        )),
    }
}

/// The beginning of a text from the input, for an error.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(60) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}…", self.0.get(..end).unwrap_or_default()),
        }
    }
}
