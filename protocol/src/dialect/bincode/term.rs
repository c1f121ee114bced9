//! Terms in bincode: a tag, then what the tag requires. Reading takes from a [`Budget`] before it
//! allocates.

use bincode::de::read::Reader as _;
use bincode::de::{Decode, Decoder};
use bincode::enc::write::Writer as _;
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError as ReadError, EncodeError as WriteError};

use crate::budget::Budget;
use crate::limits::OverBudget;
use crate::term::Term;

mod tag {
    pub(super) const NIL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INT: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const STR: u8 = 5;
    pub(super) const BYTES: u8 = 6;
    pub(super) const ATOM: u8 = 7;
    pub(super) const LIST: u8 = 8;
    pub(super) const TUPLE: u8 = 9;
    pub(super) const MAP: u8 = 10;
}

/// Marks our own error in bincode's `Other`; which one it is has the budget.
pub(super) const OVER_BUDGET: &str = "over budget";

impl Encode for Term {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), WriteError> {
        match self {
            Self::Nil => tag::NIL.encode(encoder),
            Self::Bool(false) => tag::FALSE.encode(encoder),
            Self::Bool(true) => tag::TRUE.encode(encoder),
            Self::Int(value) => (tag::INT, value).encode(encoder),
            Self::Float(value) => (tag::FLOAT, value).encode(encoder),
            Self::Str(text) => encode_bytes(encoder, tag::STR, text.as_bytes()),
            Self::Bytes(bytes) => encode_bytes(encoder, tag::BYTES, bytes),
            Self::Atom(name) => encode_bytes(encoder, tag::ATOM, name.as_bytes()),
            Self::List(items) => encode_items(encoder, tag::LIST, items),
            Self::Tuple(items) => encode_items(encoder, tag::TUPLE, items),
            Self::Map(entries) => encode_items(encoder, tag::MAP, entries),
        }
    }
}

fn encode_bytes<E: Encoder>(encoder: &mut E, tag: u8, bytes: &[u8]) -> Result<(), WriteError> {
    tag.encode(encoder)?;
    (bytes.len() as u64).encode(encoder)?;
    encoder.writer().write(bytes)
}

fn encode_items<E: Encoder, T: Encode>(
    encoder: &mut E,
    tag: u8,
    items: &[T],
) -> Result<(), WriteError> {
    tag.encode(encoder)?;
    (items.len() as u64).encode(encoder)?;
    items.iter().try_for_each(|item| item.encode(encoder))
}

/// What is read within.
pub(super) struct Context<'b> {
    budget: &'b Budget,
    /// The least number of bytes that the containers around the current term still need for their items.
    /// What is inside cannot claim them: so the sum of all claims never exceeds the input.
    reserved: usize,
}

impl<'b> Context<'b> {
    pub(super) fn new(budget: &'b Budget) -> Self {
        Self { budget, reserved: 0 }
    }
}

/// A term that is complete and within the budget, and was not kept. Reading it allocates nothing.
pub(super) struct Checked;

impl<'b> Decode<Context<'b>> for Term {
    fn decode<D: Decoder<Context = Context<'b>>>(decoder: &mut D) -> Result<Self, ReadError> {
        decoder.context().budget.enter().map_err(over)?;
        // Only what recurses is decoded here: this function's stack frame is needed once per level.
        let term = match u8::decode(decoder)? {
            tag::LIST => decode_items(decoder, 1, decode_item).map(Self::List),
            tag::TUPLE => decode_items(decoder, 1, decode_item).map(Self::Tuple),
            tag::MAP => decode_items(decoder, 2, decode_entry).map(Self::Map),
            tag => decode_leaf(decoder, tag),
        };
        decoder.context().budget.leave();
        term
    }
}

/// A map of two texts with texts as keys, borrowed from the input; `None` for any other term, and for lengths that
/// no encoder writes like this.
pub(super) fn two_texts(bytes: &[u8]) -> Option<[(&str, &str); 2]> {
    let mut rest = bytes.strip_prefix(&[tag::MAP, 2])?;
    let mut text = || {
        let (&[tag, length], after) = rest.split_first_chunk()?;
        let (length, after) = match length {
            LONG => {
                let (length, after) = after.split_first_chunk()?;
                (usize::from(u16::from_le_bytes(*length)), after)
            }
            short if short < LONG => (usize::from(short), after),
            _ => return None,
        };
        let (text, after) = after.split_at_checked(length)?;
        rest = after;
        if tag == tag::STR { std::str::from_utf8(text).ok() } else { None }
    };
    let texts = [(text()?, text()?), (text()?, text()?)];
    rest.is_empty().then_some(texts)
}

/// Begins a length of two bytes; all that are less are the length itself.
const LONG: u8 = 251;

impl<'b> Decode<Context<'b>> for Checked {
    fn decode<D: Decoder<Context = Context<'b>>>(decoder: &mut D) -> Result<Self, ReadError> {
        decoder.context().budget.enter().map_err(over)?;
        match u8::decode(decoder)? {
            tag::LIST | tag::TUPLE => check_items(decoder, 1)?,
            tag::MAP => check_items(decoder, 2)?,
            tag => check_leaf(decoder, tag)?,
        }
        decoder.context().budget.leave();
        Ok(Self)
    }
}

fn over(_: OverBudget) -> ReadError {
    ReadError::Other(OVER_BUDGET)
}

fn decode_leaf<'b, D: Decoder<Context = Context<'b>>>(
    decoder: &mut D,
    tag: u8,
) -> Result<Term, ReadError> {
    match tag {
        tag::NIL => Ok(Term::Nil),
        tag::FALSE => Ok(Term::Bool(false)),
        tag::TRUE => Ok(Term::Bool(true)),
        tag::INT => i128::decode(decoder).map(Term::Int),
        tag::FLOAT => f64::decode(decoder).map(Term::Float),
        tag::STR => Text::decode(decoder).map(|text| Term::Str(text.0)),
        tag::BYTES => with_bytes(decoder, <[u8]>::to_vec).map(Term::Bytes),
        tag::ATOM => Text::decode(decoder).map(|text| Term::Atom(text.0)),
        found => Err(ReadError::UnexpectedVariant {
            type_name: "Term",
            allowed: &bincode::error::AllowedEnumVariants::Range {
                min: tag::NIL as u32,
                max: tag::MAP as u32,
            },
            found: found.into(),
        }),
    }
}

fn check_leaf<'b, D: Decoder<Context = Context<'b>>>(
    decoder: &mut D,
    tag: u8,
) -> Result<(), ReadError> {
    match tag {
        tag::STR | tag::ATOM => with_bytes(decoder, |bytes| std::str::from_utf8(bytes).map(drop))?
            .map_err(|inner| ReadError::Utf8 { inner }),
        tag::BYTES => with_bytes(decoder, |_| ()),
        tag => decode_leaf(decoder, tag).map(drop),
    }
}

/// A text whose length is checked against the input and the budget before anything is allocated.
pub(super) struct Text(pub(super) String);

impl<'b> Decode<Context<'b>> for Text {
    fn decode<D: Decoder<Context = Context<'b>>>(decoder: &mut D) -> Result<Self, ReadError> {
        with_bytes(decoder, |bytes| std::str::from_utf8(bytes).map(|text| Self(text.to_owned())))?
            .map_err(|inner| ReadError::Utf8 { inner })
    }
}

/// Length-prefixed bytes.
fn with_bytes<'b, D: Decoder<Context = Context<'b>>, T>(
    decoder: &mut D,
    read: impl FnOnce(&[u8]) -> T,
) -> Result<T, ReadError> {
    let length = take_length(decoder, 1)?;
    decoder.context().budget.take_text(length).map_err(over)?;
    decoder.claim_bytes_read(length)?;
    let value = decoder.reader().peek_read(length).map(read);
    let value = value.ok_or(ReadError::UnexpectedEnd { additional: length })?;
    decoder.reader().consume(length);
    Ok(value)
}

/// A count of items of at least `each` bytes. An error if the rest of the input cannot hold them besides
/// what it has to hold anyway.
fn take_length<'b, D: Decoder<Context = Context<'b>>>(
    decoder: &mut D,
    each: usize,
) -> Result<usize, ReadError> {
    let length = usize::try_from(u64::decode(decoder)?).ok();
    let reserved = decoder.context().reserved;
    let least = length.and_then(|length| length.checked_mul(each)?.checked_add(reserved));
    match (length, least) {
        (Some(length), Some(least)) if decoder.reader().peek_read(least).is_some() => Ok(length),
        _ => Err(ReadError::UnexpectedEnd { additional: 1 }),
    }
}

/// Reads the count of a container's items and takes them from the budget: at least `each` bytes and as
/// many terms for each item.
fn begin_items<'b, D: Decoder<Context = Context<'b>>>(
    decoder: &mut D,
    each: usize,
) -> Result<usize, ReadError> {
    let length = take_length(decoder, each)?;
    let context = decoder.context();
    context.budget.take_terms(length.saturating_mul(each)).map_err(over)?;
    context.reserved += length * each;
    Ok(length)
}

/// Count-prefixed items. They are allocated at once: their number is within the input and the budget.
fn decode_items<'b, D: Decoder<Context = Context<'b>>, T>(
    decoder: &mut D,
    each: usize,
    decode: impl Fn(&mut D) -> Result<T, ReadError>,
) -> Result<Vec<T>, ReadError> {
    let length = begin_items(decoder, each)?;
    let mut items = Vec::with_capacity(length);
    for _ in 0..length {
        items.push(decode(decoder)?);
    }
    Ok(items)
}

fn decode_item<'b, D: Decoder<Context = Context<'b>>, T: Decode<Context<'b>>>(
    decoder: &mut D,
) -> Result<T, ReadError> {
    decoder.context().reserved -= 1;
    T::decode(decoder)
}

fn decode_entry<'b, D: Decoder<Context = Context<'b>>>(
    decoder: &mut D,
) -> Result<(Term, Term), ReadError> {
    let key = decode_item(decoder)?;
    decode_item(decoder).map(|value| (key, value))
}

fn check_items<'b, D: Decoder<Context = Context<'b>>>(
    decoder: &mut D,
    each: usize,
) -> Result<(), ReadError> {
    for _ in 0..begin_items(decoder, each)? * each {
        decode_item::<D, Checked>(decoder)?;
    }
    Ok(())
}
