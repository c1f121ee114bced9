//! JSON to term to JSON, as in the API's bodies and the device's command.
#![no_main]

use fedecks_fuzz::{Counting, within};
use fedecks_protocol::{Budget, JsonReader, JsonTerm, Limits, Term};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeSeed;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads a term, and everything up to the end.
fn read(json: &[u8], reader: JsonReader<'_>) -> Result<Term, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(json);
    let term = reader.deserialize(&mut json)?;
    json.end().map(|()| term)
}

fn has_float(term: &Term) -> bool {
    match term {
        Term::Float(_) => true,
        Term::List(terms) | Term::Tuple(terms) => terms.iter().any(has_float),
        Term::Map(entries) => entries.iter().any(|(key, value)| has_float(key) || has_float(value)),
        _ => false,
    }
}

// The first byte selects the budget, and whether there are escapes.
fuzz_target!(|input: &[u8]| {
    let Some((size, json)) = input.split_first() else { return };
    let limits = Limits { max_decoded: 1 << (size % 20), ..Limits::default() };
    let budget = Budget::new(&limits);
    let reader = if *size < 128 { JsonReader::new(&budget) } else { JsonReader::literal(&budget) };
    // Besides the budget: the JSON library's copy of a text with escapes, which doubles while the smaller one
    // still exists, and the text of an error.
    let library = 3 * json.len() + 2_000;
    let Ok(term) = within(limits.max_decoded + library, || read(json, reader)) else {
        if let Some(over) = budget.exceeded() {
            assert!(!over.to_string().is_empty());
        }
        return;
    };
    assert_eq!(budget.exceeded(), None);
    assert!(budget.spent() <= limits.max_decoded);
    assert!(term.weight() <= budget.spent() + Budget::TERM, "more than was counted");

    let written = serde_json::to_vec(&JsonTerm(&term)).unwrap();
    let unlimited = Budget::new(&Limits { max_decoded: usize::MAX, ..limits });
    let again = read(&written, JsonReader::new(&unlimited));
    // A map with other keys than texts is a list in a map: deeper than it was, perhaps too deep.
    let Ok(again) = again else { return };
    assert_eq!(again.weight(), term.weight());
    // serde_json reads a float of many digits with an error in the last one.
    if !has_float(&term) {
        assert_eq!(serde_json::to_vec(&JsonTerm(&again)).unwrap(), written);
    }
});
