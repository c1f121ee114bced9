//! Terms as D-Bus values and back.

use fedecks_protocol::Term;
use proptest::prelude::*;
use zbus::Message;
use zbus::zvariant::{Dict, Fd, ObjectPath, Signature, Structure, Value};

use super::ser::MAX_FIELDS;
use super::{Dictionary, Received, Variant, VariantError};

fn text(text: &str) -> Term {
    Term::from(text)
}

/// A message with this body, encoded.
fn message<T: serde::Serialize + zbus::zvariant::DynamicType>(body: &T) -> Message {
    Message::method_call("/", "Send").unwrap().build(body).unwrap()
}

fn round_trip(term: &Term) -> Term {
    let message = message(&Variant::new(term.clone()).unwrap());
    message.body().deserialize::<Variant>().unwrap().into_term()
}

fn read(value: Value<'_>) -> Result<Term, VariantError> {
    let message = message(&(value,));
    message.body().deserialize::<Received>().unwrap().0.map(Variant::into_term)
}

/// The signature that D-Bus tools see.
fn signature(term: Term) -> String {
    let message = message(&Variant::new(term).unwrap());
    let body = message.body();
    let value: Value<'_> = body.deserialize().unwrap();
    value.value_signature().to_string()
}

/// Nested in as many lists as this.
fn nested(levels: usize) -> Term {
    (0..levels).fold(Term::Bool(true), |term, _| Term::List(vec![term]))
}

#[test]
fn a_term_has_the_signature_that_d_bus_tools_expect() {
    for (term, expected) in [
        (Term::Bool(true), "b"),
        (Term::Int(-1), "x"),
        (Term::Int(i128::from(i64::MAX)), "x"),
        (Term::Int(i128::from(u64::MAX)), "t"),
        (Term::Int(i128::from(u64::MAX) + 1), "(ov)"),
        (Term::Int(i128::from(i64::MIN) - 1), "(ov)"),
        (Term::Float(1.5), "d"),
        (text("marvin"), "s"),
        (text("mar\0vin"), "(ov)"),
        (Term::Atom("ok".into()), "(ov)"),
        (Term::Nil, "(ov)"),
        (Term::Bytes(vec![1]), "ay"),
        (Term::List(vec![]), "av"),
        (Term::Tuple(vec![]), "(ov)"),
        (Term::Tuple(vec![Term::Int(1), text("x")]), "(vv)"),
        (Term::Tuple(vec![Term::Int(1); MAX_FIELDS + 1]), "(ov)"),
        (Term::Map(vec![]), "a{sv}"),
        (Term::Map(vec![(text("a"), Term::Nil)]), "a{sv}"),
        (Term::Map(vec![(text("a"), Term::Nil), (text("a"), Term::Nil)]), "(ov)"),
        (Term::Map(vec![(text("a\0"), Term::Nil)]), "(ov)"),
        (Term::Map(vec![(Term::Int(1), Term::Nil)]), "(ov)"),
    ] {
        assert_eq!(signature(term.clone()), expected, "{term:?}");
        assert_eq!(round_trip(&term), term);
    }
    assert_eq!(signature(Term::Tuple(vec![Term::Nil; MAX_FIELDS])).len(), 255);
}

#[test]
fn a_value_from_d_bus_tools_becomes_the_term_that_is_meant() {
    for (value, expected) in [
        (Value::U8(7), Term::Int(7)),
        (Value::I16(-7), Term::Int(-7)),
        (Value::U16(7), Term::Int(7)),
        (Value::I32(-7), Term::Int(-7)),
        (Value::U32(7), Term::Int(7)),
        (Value::U64(u64::MAX), Term::Int(i128::from(u64::MAX))),
        (Value::from("x"), text("x")),
        (Value::ObjectPath(ObjectPath::try_from("/a/b").unwrap()), text("/a/b")),
        (Value::Signature(Signature::try_from("a{sv}").unwrap()), text("a{sv}")),
        (Value::from(vec!["a", "b"]), Term::List(vec![text("a"), text("b")])),
        (Value::from(vec![1u8, 2]), Term::Bytes(vec![1, 2])),
        (Value::from((1i32, "x")), Term::Tuple(vec![Term::Int(1), text("x")])),
        (Value::from(("x", Value::from(1i32))), Term::Tuple(vec![text("x"), Term::Int(1)])),
        (Value::Value(Box::new(Value::Value(Box::new(Value::U8(1))))), Term::Int(1)),
        (vec![Value::U8(1), true.into()].into(), Term::List(vec![Term::Int(1), Term::Bool(true)])),
        (
            Value::Dict(std::collections::BTreeMap::from([(1u16, "a"), (2, "b")]).into()),
            Term::Map(vec![(Term::Int(1), text("a")), (Term::Int(2), text("b"))]),
        ),
    ] {
        assert_eq!(read(value).unwrap(), expected);
    }
    let empty = Dict::new(&Signature::Str, &Signature::Variant);
    assert_eq!(read(Value::Dict(empty)).unwrap(), Term::Map(vec![]));
}

#[test]
fn a_pair_of_path_and_variant_is_an_escape_only_under_our_path() {
    let pair = |path: &'static str, content: Value<'static>| {
        let path = ObjectPath::try_from(path).unwrap();
        Value::Structure(Structure::from((path, Value::Value(Box::new(content)))))
    };
    let one = Value::from(1u8);
    let tuple = Term::Tuple(vec![Term::from("/some/device"), Term::Int(1)]);
    assert_eq!(read(pair("/some/device", one.try_clone().unwrap())).unwrap(), tuple);
    assert_eq!(read(pair("/org/fedecks/term/nil", Value::from(""))).unwrap(), Term::Nil);
    for (path, content) in [
        ("/org/fedecks/term/nil", one),
        ("/org/fedecks/term/int", Value::from("twelve")),
        ("/org/fedecks/term/text", Value::from(vec![0xffu8])),
        ("/org/fedecks/term/map", Value::from(vec!["a"])),
        ("/org/fedecks/term/other", Value::from("")),
    ] {
        assert_eq!(read(pair(path, content)), Err(VariantError::Escape(path.into())));
    }
}

#[test]
fn a_file_descriptor_is_refused() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let value = Value::from(vec![Value::Fd(Fd::from(std::os::fd::OwnedFd::from(file)))]);
    assert_eq!(read(value), Err(VariantError::FileDescriptor));
}

#[test]
fn depth_and_size_are_limited() {
    // A list takes two levels, its variant and its array; the innermost value takes one. The bus
    // disconnects the sender of a deeper one.
    let deepest = nested(31);
    assert_eq!(round_trip(&deepest), deepest);
    let max = super::MAX_BYTES;
    for (term, error) in [
        (nested(32), VariantError::TooDeep),
        (nested(1_000), VariantError::TooDeep),
        (Term::Bytes(vec![0; max]), VariantError::TooBig { max }),
    ] {
        assert_eq!(Variant::new(term), Err(error));
    }
    // More than a message to the cloud can have.
    let much = Value::from(vec![0u8; 1_100_000]);
    assert_eq!(read(much), Err(VariantError::TooBig { max: 1024 * 1024 }));
}

#[test]
fn the_memory_of_a_value_is_limited() {
    let fits = Value::from(vec![0i16; 131_072]);
    assert!(matches!(read(fits), Ok(Term::List(terms)) if terms.len() == 131_072));
    let limit = 6 * 1024 * 1024 + 4 * 1024;
    let weight = 12 * 1024 * 1024 + 100;
    for (many, weight) in [
        (Value::from(vec![0i16; 131_073]), weight),
        (
            Value::from(vec![Value::from(vec![0i16; 100_000]), Value::from(vec![0i16; 100_000])]),
            8 * 1024 * 1024,
        ),
    ] {
        match read(many) {
            Err(VariantError::TooHeavy { weight: least, limit: named }) => {
                assert_eq!(named, limit);
                assert!((limit..=weight).contains(&least), "{least}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_error_shows_only_the_beginning_of_a_long_path() {
    let path = format!("/org/fedecks/term/{}", "x".repeat(10_000));
    let path = ObjectPath::try_from(path).unwrap();
    let content = Value::Value(Box::new(Value::from(1u8)));
    let error = read(Value::Structure(Structure::from((path, content)))).unwrap_err();
    assert!(error.to_string().len() < 250, "{error}");
}

#[test]
fn a_dictionary_has_distinct_string_keys() {
    let entry = |key: Term| (key, Term::Int(1));
    let good = vec![entry("a".into()), entry("b".into())];
    let message = message(&Dictionary::new(good.clone()).unwrap());
    assert_eq!(message.body().signature().to_string(), "a{sv}");
    assert_eq!(message.body().deserialize::<Dictionary>().unwrap().into_term(), Term::Map(good));
    for (bad, key) in [
        (vec![entry("a".into()), entry("a".into())], "\"a\" is given more than once"),
        (vec![entry(Term::Int(1))], "an integer"),
        (vec![entry("a\0".into())], "a string with a NUL"),
    ] {
        assert_eq!(Dictionary::new(bad), Err(VariantError::Key(key.to_owned())));
    }
}

fn any_term() -> impl Strategy<Value = Term> {
    let text = prop_oneof!["[a-c\\x00]{0,3}", any::<String>()];
    let leaf = prop_oneof![
        Just(Term::Nil),
        any::<bool>().prop_map(Term::Bool),
        any::<i128>().prop_map(Term::Int),
        any::<i64>().prop_map(|number| Term::Int(i128::from(number))),
        any::<u64>().prop_map(|number| Term::Int(i128::from(number))),
        any::<f64>().prop_map(Term::Float),
        text.clone().prop_map(Term::Str),
        text.prop_map(Term::Atom),
        any::<Vec<u8>>().prop_map(Term::Bytes),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        let many = prop::collection::vec(inner.clone(), 0..6);
        let keys = prop_oneof!["[a-c]{0,2}".prop_map(Term::Str), inner.clone()];
        prop_oneof![
            many.clone().prop_map(Term::List),
            many.prop_map(Term::Tuple),
            prop::collection::vec((keys, inner.clone()), 0..4).prop_map(Term::Map),
            prop::collection::btree_map("[a-c]{0,2}", inner, 0..4).prop_map(|entries| {
                Term::Map(entries.into_iter().map(|(key, value)| (Term::Str(key), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn every_term_survives_the_round_trip_over_d_bus(term in any_term()) {
        prop_assert_eq!(round_trip(&term), term);
    }
}
