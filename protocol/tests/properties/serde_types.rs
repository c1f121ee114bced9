use std::collections::{BTreeMap, HashMap};

use fedecks_protocol::{DeviceId, Term};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Serialize};

use crate::strategies::{exact, float, int, term, text};

fn there_and_back<T: Serialize + DeserializeOwned>(value: &T) -> T {
    Term::from_serialize(value).unwrap().parse().unwrap()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Report {
    unit: (),
    flag: bool,
    letter: char,
    text: String,
    maybe: Option<Box<Report>>,
    readings: Vec<Reading>,
    by_channel: BTreeMap<i32, Option<u16>>,
    by_name: BTreeMap<String, Vec<u64>>,
    pair: (i8, String),
    triple: [u32; 3],
    blob: Blob,
    wrapped: Meters,
    point: Point,
    marker: Marker,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Marker;

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Meters(f32);

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Point(i64, i64);

/// One variant of each kind in serde's data model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Reading {
    Missing,
    Level(u64),
    Wide(i128),
    Range(i16, i16),
    Named { name: String, value: Option<i32> },
    Nested(Box<Reading>),
    Nothing(()),
    Empty {},
}

/// Bytes that are serialized as bytes, not as a list of numbers.
#[derive(Debug, Clone, PartialEq)]
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// A user's own struct with a term inside.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope<T> {
    about: String,
    term: T,
    more: Vec<T>,
    keyed: Vec<(T, T)>,
    shape: Shape<T>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Shape<T> {
    One(T),
    Two(T, T),
    Named { term: T },
}

fn reading() -> impl Strategy<Value = Reading> {
    let flat = prop_oneof![
        Just(Reading::Missing),
        any::<u64>().prop_map(Reading::Level),
        int().prop_map(Reading::Wide),
        any::<(i16, i16)>().prop_map(|(low, high)| Reading::Range(low, high)),
        (text(), option::of(any::<i32>())).prop_map(|(name, value)| Reading::Named { name, value }),
        Just(Reading::Nothing(())),
        Just(Reading::Empty {}),
    ];
    flat.prop_recursive(3, 3, 1, |inner| inner.prop_map(|r| Reading::Nested(Box::new(r))))
}

prop_compose! {
    fn flat_report()(
        flag: bool,
        letter: char,
        text in text(),
        readings in vec(reading(), 0..4),
        by_channel in btree_map(any::<i32>(), option::of(any::<u16>()), 0..4),
        by_name in btree_map(text(), vec(any::<u64>(), 0..3), 0..3),
        pair in (any::<i8>(), text()),
        triple: [u32; 3],
        blob in vec(any::<u8>(), 0..40).prop_map(Blob),
        wrapped in any::<f32>().prop_map(Meters),
        point in any::<(i64, i64)>().prop_map(|(x, y)| Point(x, y)),
    ) -> Report {
        let (unit, maybe, marker) = ((), None, Marker);
        Report {
            unit, flag, letter, text, maybe, readings, by_channel, by_name, pair, triple, blob,
            wrapped, point, marker,
        }
    }
}

fn report() -> impl Strategy<Value = Report> {
    flat_report().prop_recursive(2, 2, 1, |inner| {
        (inner.clone(), inner)
            .prop_map(|(outer, inner)| Report { maybe: Some(Box::new(inner)), ..outer })
    })
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        float().prop_map(Into::into),
        text().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Into::into),
            vec((text(), inner), 0..5)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_term_converts_to_itself(term in term()) {
        prop_assert_eq!(exact(&Term::from_serialize(&term).unwrap()), exact(&term));
        prop_assert_eq!(exact(&term.parse::<Term>().unwrap()), exact(&term));
    }

    #[test]
    fn a_term_inside_a_struct_does_not_change(term in term()) {
        let shapes = [
            Shape::One(term.clone()),
            Shape::Two(term.clone(), term.clone()),
            Shape::Named { term: term.clone() },
        ];
        for shape in shapes {
            let envelope = Envelope {
                about: "a term".into(),
                term: term.clone(),
                more: vec![term.clone(), term.clone()],
                keyed: vec![(term.clone(), term.clone())],
                shape,
            };
            let whole = Term::from_serialize(&envelope).unwrap();
            prop_assert_eq!(exact(whole.get("term").unwrap()), exact(&term));
            let back: Envelope<Term> = whole.parse().unwrap();
            prop_assert_eq!(exact(&Term::from_serialize(&back).unwrap()), exact(&whole));
        }
    }

    #[test]
    fn a_users_types_survive_the_round_trip(report in report()) {
        prop_assert_eq!(there_and_back(&report), report);
    }

    #[test]
    fn every_integer_survives_the_round_trip_in_its_width(
        narrow: (i8, i16, i32, i64, u8, u16, u32, u64),
        wide in int(),
    ) {
        prop_assert_eq!(there_and_back(&narrow), narrow);
        prop_assert_eq!(there_and_back(&wide), wide);
        let unsigned = wide.unsigned_abs().min(i128::MAX.unsigned_abs());
        prop_assert_eq!(there_and_back(&unsigned), unsigned);
        prop_assert_eq!(Term::from_serialize(&wide), Ok(Term::Int(wide)));
    }

    #[test]
    fn a_u128_above_the_largest_i128_is_an_error(beyond in i128::MAX.unsigned_abs() + 1..) {
        let error = Term::from_serialize(&beyond).unwrap_err();
        prop_assert!(error.to_string().contains(&beyond.to_string()), "{}", error);
        prop_assert!(Term::from_serialize(&vec![Some(beyond)]).is_err());
    }

    #[test]
    fn json_survives_the_round_trip_through_a_term(json in json()) {
        let term: Term = serde_json::from_value(json.clone()).unwrap();
        prop_assert_eq!(&serde_json::to_value(&term).unwrap(), &json);
        prop_assert_eq!(&Term::from_serialize(&json).unwrap(), &term);
        prop_assert_eq!(&term.parse::<serde_json::Value>().unwrap(), &json);

        let text = json.to_string();
        let read: Term = serde_json::from_str(&text).unwrap();
        let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(serde_json::to_value(&read).unwrap(), expected);
    }

    #[test]
    fn a_users_type_from_any_term_is_a_value_or_an_error(term in term()) {
        let _ = term.parse::<Report>();
        let _ = term.parse::<Reading>();
        let _ = term.parse::<Vec<Option<u128>>>();
        let _ = term.parse::<HashMap<String, f32>>();
        let _ = term.parse::<(char, Blob, DeviceId)>();
    }
}

#[test]
fn each_kind_of_variant_has_its_form() {
    let entry = |name: &str, content| (Term::from(name), content);
    let named = |name, content| Term::Map(vec![entry(name, content)]);
    let range = Term::Tuple(vec![Term::Int(-1), Term::Int(1)]);
    let fields = Term::Map(vec![entry("name", Term::from("t")), entry("value", Term::Nil)]);
    for (reading, term) in [
        (Reading::Missing, Term::from("Missing")),
        (Reading::Level(u64::MAX), named("Level", Term::from(u64::MAX))),
        (Reading::Range(-1, 1), named("Range", range)),
        (Reading::Named { name: "t".into(), value: None }, named("Named", fields)),
        (Reading::Nothing(()), named("Nothing", Term::Nil)),
        (Reading::Empty {}, named("Empty", Term::Map(vec![]))),
    ] {
        assert_eq!(Term::from_serialize(&reading), Ok(term));
    }
}

#[test]
fn each_kind_of_value_has_its_form() {
    fn term<T: Serialize>(value: T) -> Term {
        Term::from_serialize(&value).unwrap()
    }
    assert_eq!(term(()), Term::Nil);
    assert_eq!(term(Marker), Term::Nil);
    assert_eq!(term(None::<u8>), Term::Nil);
    assert_eq!(term(Some(7)), Term::Int(7));
    assert_eq!(term(Meters(1.5)), Term::Float(1.5));
    assert_eq!(term('é'), Term::from("é"));
    assert_eq!(term(Blob(vec![1, 2])), Term::Bytes(vec![1, 2]));
    assert_eq!(term([1, 2]), Term::Tuple(vec![Term::Int(1), Term::Int(2)]));
    assert_eq!(term(Point(1, 2)), Term::Tuple(vec![Term::Int(1), Term::Int(2)]));
    assert_eq!(term(vec![1, 2]), Term::List(vec![Term::Int(1), Term::Int(2)]));
    assert_eq!(
        term(BTreeMap::from([(-1, 'a')])),
        Term::Map(vec![(Term::Int(-1), Term::from("a"))])
    );
}

#[test]
fn an_atom_reads_as_text_and_as_a_variant() {
    let atom = Term::Atom("Missing".into());
    assert_eq!(atom.parse::<String>().unwrap(), "Missing");
    assert_eq!(atom.parse::<Reading>().unwrap(), Reading::Missing);
    assert_eq!(serde_json::to_string(&atom).unwrap(), "\"Missing\"");
}

#[test]
fn an_option_of_an_option_loses_its_outer_some() {
    assert_eq!(there_and_back(&Some(None::<u8>)), None);
    assert_eq!(there_and_back(&Some(Some(1_u8))), Some(Some(1)));
}

#[test]
fn a_term_of_another_shape_is_an_error_that_names_both() {
    let error = |term: Term| term.parse::<Reading>().unwrap_err().to_string();
    assert_eq!(
        error(Term::Int(1)),
        "expected a variant: a text, or a map with one text key, found an integer"
    );
    assert_eq!(
        error(Term::Map(vec![])),
        "expected a variant: a map with one text key, found a map with 0 entries"
    );
    assert_eq!(error(Term::from("Level")), "the variant \"Level\" has no content");
    let unknown = error(Term::from("Other"));
    assert!(unknown.starts_with("unknown variant `Other`, expected one of"), "{unknown}");
    let too_many = Term::from([1, 2, 3]).parse::<(u8, u8)>().unwrap_err().to_string();
    assert!(too_many.contains("invalid length 3"), "{too_many}");
    let too_big = Term::Int(256).parse::<u8>().unwrap_err().to_string();
    assert!(too_big.contains("invalid value: integer `256`, expected u8"), "{too_big}");
}

#[test]
fn text_is_borrowed_from_the_term_where_the_type_can() {
    let term = Term::from("hello");
    let text: &str = term.parse().unwrap();
    assert!(std::ptr::eq(text, term.as_str().unwrap()));
}
