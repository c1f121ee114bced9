//! Terms as JSON. Independent of serde's view of a term, which loses atoms and bytes.

use std::borrow::Borrow;
use std::fmt;

use data_encoding::BASE64;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::json_escape::{Shown, escaped};
use super::value::Term;
use crate::budget::Budget;
use crate::limits::{Limits, OverBudget};

/// A term as JSON, for people, scripts and HTTP. Works with any JSON library for serde.
///
/// | term | JSON |
/// |---|---|
/// | `Nil`, `Bool`, `Str` | `null`, `true`, `"text"` |
/// | `Int` from -2⁶³ to 2⁶⁴-1 | `42` |
/// | any other `Int` | `{"$int":"170141183460469231731687303715884105727"}` |
/// | `Float` | `21.5`, `2.0` |
/// | a `Float` that JSON cannot express | `{"$float":"NaN"}`, `"Infinity"` or `"-Infinity"` |
/// | `Bytes` | `{"$bytes":"aGVsbG8="}`, base64 with padding |
/// | `Atom` | `{"$atom":"ok"}` |
/// | `List` | `[1,2]` |
/// | `Tuple` | `[1,2]`, like a list; `{"$tuple":[1,2]}` is accepted as well |
/// | `Map` with distinct text keys | `{"key":"value"}` in the order of the map |
/// | any other `Map` | `{"$map":[["key","value"],[7,"seven"]]}` |
///
/// A term survives a round trip through JSON, except that tuples become lists. Only an object with a
/// single key that begins with `$` is an escape; a map with just one such key is written as `$map`.
/// Unknown escapes and duplicate keys are errors.
///
/// A number with a fraction or an exponent is a `Float`. So is a whole number of more than 64 bits with
/// parsers that turn it into a float, such as serde_json; `$int` is exact.
///
/// Deserializing takes at most [`Limits::CLOUD_DECODED`] bytes of memory, besides what the JSON library
/// needs itself; [`JsonReader`] has any other limit. [`LiteralJson`] reads JSON without escapes.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonTerm<T = Term>(pub T);

/// A term from JSON that is data as it is: no object is an escape, whatever its keys. In all else it is read as
/// [`JsonTerm`] is. Written, such a term is a [`JsonTerm`]: `{"$ref":1}` becomes `{"$map":[["$ref",1]]}`.
#[derive(Debug, Clone, PartialEq)]
pub struct LiteralJson(pub Term);

impl<T: Borrow<Term>> Serialize for JsonTerm<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.borrow() {
            Term::Nil => serializer.serialize_unit(),
            Term::Bool(value) => serializer.serialize_bool(*value),
            Term::Int(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => serializer.serialize_i64(number),
                (_, Ok(number)) => serializer.serialize_u64(number),
                (Err(_), Err(_)) => escape(serializer, "$int", &number.to_string()),
            },
            Term::Float(number) if number.is_nan() => escape(serializer, "$float", "NaN"),
            Term::Float(f64::INFINITY) => escape(serializer, "$float", "Infinity"),
            Term::Float(f64::NEG_INFINITY) => escape(serializer, "$float", "-Infinity"),
            Term::Float(number) => serializer.serialize_f64(*number),
            Term::Str(text) => serializer.serialize_str(text),
            Term::Bytes(bytes) => escape(serializer, "$bytes", &BASE64.encode(bytes)),
            Term::Atom(name) => escape(serializer, "$atom", name),
            Term::List(terms) | Term::Tuple(terms) => {
                serializer.collect_seq(terms.iter().map(JsonTerm))
            }
            Term::Map(entries) => match object(entries) {
                Some(entries) => serializer.collect_map(entries),
                None => escape(serializer, "$map", &Pairs(entries)),
            },
        }
    }
}

struct Pairs<'a>(&'a [(Term, Term)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(key, value)| [JsonTerm(key), JsonTerm(value)]))
    }
}

fn escape<S, T>(serializer: S, name: &'static str, content: &T) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    T: Serialize + ?Sized,
{
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(name, content)?;
    map.end()
}

/// The entries as those of a JSON object, if the map can be written as one.
fn object(entries: &[(Term, Term)]) -> Option<impl Iterator<Item = (&str, JsonTerm<&Term>)>> {
    let mut keys = Vec::with_capacity(entries.len());
    for (key, _) in entries {
        let Term::Str(key) = key else { return None };
        keys.push(key.as_str());
    }
    if matches!(keys[..], [key] if key.starts_with('$')) {
        return None;
    }
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() < keys.len() {
        return None;
    }
    Some(keys.into_iter().zip(entries.iter().map(|(_, value)| JsonTerm(value))))
}

/// Reads terms from JSON as [`JsonTerm`] has it, within a [`Budget`]. What it counts is never less than what
/// is allocated, duplicate keys included; more than [`Term::weight`] counts, as JSON does not say in advance
/// how long a list is.
///
/// ```
/// use fedecks_protocol::{Budget, JsonReader, Limits};
/// use serde::de::DeserializeSeed;
///
/// let budget = Budget::new(&Limits { max_decoded: 1_000, ..Limits::default() });
/// let json = format!("[{}0]", "0,".repeat(1_000));
/// let read = JsonReader::new(&budget).deserialize(&mut serde_json::Deserializer::from_str(&json));
/// assert!(read.is_err() && budget.exceeded().is_some());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct JsonReader<'b> {
    budget: &'b Budget,
    has_escapes: bool,
}

impl<'de> Deserialize<'de> for JsonTerm<Term> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        JsonReader::new(&default_budget()).deserialize(deserializer).map(JsonTerm)
    }
}

impl<'de> Deserialize<'de> for LiteralJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        JsonReader::literal(&default_budget()).deserialize(deserializer).map(LiteralJson)
    }
}

fn default_budget() -> Budget {
    Budget::new(&Limits {
        max_decoded: Limits::CLOUD_DECODED,
        max_depth: Limits::MAX_DEPTH,
        ..Limits::default()
    })
}

impl<'de> DeserializeSeed<'de> for JsonReader<'_> {
    type Value = Term;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Term, D::Error> {
        self.budget.enter().map_err(D::Error::custom)?;
        let term = deserializer.deserialize_any(self)?;
        self.budget.leave();
        Ok(term)
    }
}

impl<'b> JsonReader<'b> {
    /// Reads JSON with the escapes of [`JsonTerm`].
    pub fn new(budget: &'b Budget) -> Self {
        Self { budget, has_escapes: true }
    }

    /// Reads JSON as [`LiteralJson`] does.
    pub fn literal(budget: &'b Budget) -> Self {
        Self { budget, has_escapes: false }
    }

    fn text<E: Error>(self, text: &str) -> Result<String, E> {
        self.budget.take_text(text.len()).map_err(E::custom)?;
        Ok(text.to_owned())
    }
}

impl<'de> Visitor<'de> for JsonReader<'_> {
    type Value = Term;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    visit_scalars! {
        visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_f64: f64
    }

    fn visit_unit<E>(self) -> Result<Term, E> {
        Ok(Term::Nil)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Term, E> {
        self.text(text).map(Term::Str)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Term, A::Error> {
        let mut terms = Vec::new();
        while let Some(term) = elements.next_element_seed(self)? {
            self.budget.grow(&mut terms).map_err(A::Error::custom)?;
            terms.push(term);
        }
        Ok(Term::List(terms))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Term, A::Error> {
        let mut map: Vec<(Term, Term)> = Vec::new();
        while let Some(key) = entries.next_key_seed(Key(self))? {
            let value = entries.next_value_seed(self)?;
            self.budget.grow(&mut map).map_err(A::Error::custom)?;
            map.push((Term::Str(key), value));
        }
        if let [(Term::Str(name), content)] = map.as_mut_slice() {
            if self.has_escapes && name.starts_with('$') {
                let content = std::mem::take(content);
                return escaped(name, content, self.budget).map_err(A::Error::custom);
            }
        }
        match duplicate(&map, self.budget).map_err(A::Error::custom)? {
            Some(key) => Err(A::Error::custom(format_args!("duplicate key {}", Shown(key)))),
            None => Ok(Term::Map(map)),
        }
    }
}

/// A key of an object.
struct Key<'b>(JsonReader<'b>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text as the key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        self.0.text(text)
    }
}

/// A key that occurs more than once.
fn duplicate<'a>(
    entries: &'a [(Term, Term)],
    budget: &Budget,
) -> Result<Option<&'a str>, OverBudget> {
    if entries.len() < 2 {
        return Ok(None);
    }
    let bytes = entries.len().saturating_mul(size_of::<&str>());
    budget.take(bytes)?;
    let mut keys: Vec<_> = entries.iter().filter_map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    budget.give_back(bytes);
    Ok(keys.windows(2).find_map(|pair| match pair {
        [one, other] if one == other => Some(*one),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(term: &Term) -> String {
        serde_json::to_string(&JsonTerm(term)).unwrap()
    }

    fn term(json: &str) -> Result<Term, String> {
        let read = serde_json::from_str::<JsonTerm>(json);
        read.map(|JsonTerm(term)| term).map_err(|error| error.to_string())
    }

    #[test]
    fn every_kind_of_term_has_its_json_form() {
        let text = |text: &str| Term::Str(text.to_owned());
        let cases = [
            (Term::Nil, "null"),
            (Term::Bool(true), "true"),
            (Term::Int(i64::MIN.into()), "-9223372036854775808"),
            (Term::Int(u64::MAX.into()), "18446744073709551615"),
            (Term::Int(i128::MAX), r#"{"$int":"170141183460469231731687303715884105727"}"#),
            (Term::Int(-9_223_372_036_854_775_809), r#"{"$int":"-9223372036854775809"}"#),
            (Term::Float(2.0), "2.0"),
            (Term::Float(f64::INFINITY), r#"{"$float":"Infinity"}"#),
            (Term::Float(f64::NEG_INFINITY), r#"{"$float":"-Infinity"}"#),
            (text("a\u{0}\"b"), r#""a\u0000\"b""#),
            (Term::Bytes(b"hello".to_vec()), r#"{"$bytes":"aGVsbG8="}"#),
            (Term::Atom("ok".to_owned()), r#"{"$atom":"ok"}"#),
            (Term::List(vec![Term::Int(1), Term::Nil]), "[1,null]"),
            (Term::Map(vec![]), "{}"),
            (
                Term::Map(vec![(text("z"), Term::Int(1)), (text("a"), Term::Int(2))]),
                r#"{"z":1,"a":2}"#,
            ),
            (Term::Map(vec![(Term::Int(7), text("seven"))]), r#"{"$map":[[7,"seven"]]}"#),
            (
                Term::Map(vec![(text("a"), Term::Int(1)), (text("a"), Term::Int(2))]),
                r#"{"$map":[["a",1],["a",2]]}"#,
            ),
            (Term::Map(vec![(text("$bytes"), text("x"))]), r#"{"$map":[["$bytes","x"]]}"#),
            (
                Term::Map(vec![(text("$a"), Term::Nil), (text("b"), Term::Nil)]),
                r#"{"$a":null,"b":null}"#,
            ),
        ];
        for (value, form) in cases {
            assert_eq!(json(&value), form);
            assert_eq!(term(form), Ok(value));
        }
        assert_eq!(json(&Term::Float(f64::NAN)), r#"{"$float":"NaN"}"#);
        assert!(matches!(term(r#"{"$float":"NaN"}"#), Ok(Term::Float(number)) if number.is_nan()));
        assert_eq!(json(&Term::Tuple(vec![Term::Int(1)])), "[1]");
        assert_eq!(term(r#"{"$tuple":[1]}"#), Ok(Term::Tuple(vec![Term::Int(1)])));
    }

    #[test]
    fn literal_json_has_no_escapes() {
        for text in [r#"{"$ref":"x"}"#, r#"[{"$int":"7"},{"$map":[[1,2]]}]"#, r#"{"$":{"$a":1}}"#] {
            let LiteralJson(term) = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&term).unwrap(), text);
            let written = json(&term);
            assert_eq!(self::term(&written), Ok(term), "{written}");
        }
        let error = serde_json::from_str::<LiteralJson>(r#"{"a":1,"a":2}"#).unwrap_err();
        assert!(error.to_string().contains("duplicate key"), "{error}");
    }

    #[test]
    fn an_error_shows_only_the_beginning_of_a_long_text() {
        let long = "x".repeat(10_000);
        for wrong in [
            format!(r#"{{"{long}":1,"{long}":2}}"#),
            format!(r#"{{"$int":"{long}"}}"#),
            format!(r#"{{"$float":"{long}"}}"#),
            format!(r#"{{"${long}":1}}"#),
        ] {
            let error = term(&wrong).unwrap_err();
            assert!(error.contains("xxxx\"…") && error.len() < 500, "{error}");
        }
    }

    #[test]
    fn an_error_says_what_is_wrong_and_where() {
        for (wrong, says) in [
            (r#"{"a":1,"a":2}"#, "duplicate key \"a\" at line 1 column"),
            (r#"{"$int":"12x"}"#, "$int must be a whole number of at most 128 bits, not \"12x\""),
            (r#"{"$int":12}"#, "$int must be a string of digits, not an integer"),
            (r#"{"$float":"1.5"}"#, "$float must be NaN, Infinity or -Infinity, not \"1.5\""),
            (r#"{"$bytes":"%"}"#, "$bytes must be base64 with padding"),
            (r#"{"$atom":1}"#, "$atom must be a string, not an integer"),
            (r#"{"$tuple":{}}"#, "$tuple must be a list, not a map"),
            (r#"{"$map":[[1]]}"#, "$map must be a list of pairs"),
            (r#"{"$other":1}"#, "unknown escape \"$other\""),
            ("[1,\n2,,]", "at line 2 column 3"),
        ] {
            let error = term(wrong).unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }

    fn any_term() -> impl Strategy<Value = Term> {
        let leaf = prop_oneof![
            Just(Term::Nil),
            any::<bool>().prop_map(Term::Bool),
            any::<i128>().prop_map(Term::Int),
            any::<i64>().prop_map(|number| Term::Int(number.into())),
            any::<f64>().prop_filter("NaN equals nothing", |f| !f.is_nan()).prop_map(Term::Float),
            "\\$?[a-z]{0,5}".prop_map(Term::Str),
            any::<String>().prop_map(Term::Str),
            any::<Vec<u8>>().prop_map(Term::Bytes),
            any::<String>().prop_map(Term::Atom),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Term::List),
                proptest::collection::vec((inner.clone(), inner.clone()), 0..4).prop_map(Term::Map),
                proptest::collection::vec(("\\$?[a-c]".prop_map(Term::Str), inner), 0..4)
                    .prop_map(Term::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_term_survives_the_round_trip(original in any_term()) {
            prop_assert_eq!(term(&json(&original)), Ok(original));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in r#"[\[\]{}",:$a-z0-9.\\ -]{0,40}"#) {
            let _ = term(&text);
        }
    }
}
