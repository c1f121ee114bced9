//! The dialect `fedecks.v1.bincode`: a kind byte, then the frame's fields in bincode 2's standard
//! encoding (little-endian, variable-length integers, zigzag for signed ones).

use std::num::NonZeroU64;
use std::time::Duration;

use bincode::de::read::Reader as _;
use bincode::de::{Decode, Decoder};
use bincode::enc::write::Writer as _;
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError as ReadError, EncodeError as WriteError};

use super::limits::{DecodeError, EncodeError, Limits};
use crate::frame::{DownFrame, IssuedToken, RequestId, Sequence, UpFrame, Welcome};
use crate::term::Term;
use crate::token::Token;

mod kind {
    pub(super) const MESSAGE: u8 = 0x01;
    pub(super) const RAW: u8 = 0x02;
    pub(super) const TOKEN_PLEASE: u8 = 0x03;
    pub(super) const ACK: u8 = 0x04;
    pub(super) const REPLY: u8 = 0x05;
    pub(super) const REQUEST: u8 = 0x06;
    pub(super) const WELCOME: u8 = 0x10;
    pub(super) const TOKEN: u8 = 0x11;
}

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

type Config = bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MAX_CLAIM>,
>;

const CONFIG: Config = bincode::config::standard().with_limit::<MAX_CLAIM>();

/// bincode's own limit counts an integer at its full width, not at its encoded size: 17 bytes for the
/// 2 bytes of a small `Int`, 9 for the 2 of an empty text, 8 for the 1 of a sequence number.
const MAX_CLAIM: usize = 9 * Limits::MAX_SIZE;

/// The most that is allocated for a container before its first item is decoded, in bytes.
const MAX_PREALLOCATION: usize = 512;

pub(super) fn encode_up(frame: &UpFrame, limits: &Limits) -> Result<Vec<u8>, EncodeError> {
    let mut out = Writer::new(limits);
    match frame {
        UpFrame::Message { sequence, term } => out.message(*sequence, term)?,
        UpFrame::Raw { sequence, bytes } => out.raw(*sequence, bytes)?,
        UpFrame::TokenPlease => out.kind(kind::TOKEN_PLEASE),
        UpFrame::Ack(sequence) => out.ack(*sequence)?,
        UpFrame::Reply { request, term } => out.request(kind::REPLY, *request, term)?,
        UpFrame::Unknown { .. } => return Err(EncodeError::UnknownFrame),
    }
    out.finish()
}

pub(super) fn encode_down(frame: &DownFrame, limits: &Limits) -> Result<Vec<u8>, EncodeError> {
    let mut out = Writer::new(limits);
    match frame {
        DownFrame::Welcome(welcome) => {
            out.kind(kind::WELCOME);
            out.value(&welcome.server_time_ms)?;
            out.value(&welcome.heartbeat.as_secs())?;
            out.value(&welcome.idle_timeout.as_secs())?;
            out.value(&welcome.max_frame)?;
        }
        DownFrame::Message { sequence, term } => out.message(*sequence, term)?,
        DownFrame::Raw { sequence, bytes } => out.raw(*sequence, bytes)?,
        DownFrame::Token(issued) => {
            out.kind(kind::TOKEN);
            out.value(&issued.expires_at)?;
            out.value(issued.token.expose())?;
        }
        DownFrame::Ack(sequence) => out.ack(*sequence)?,
        DownFrame::Request { request, term } => out.request(kind::REQUEST, *request, term)?,
        DownFrame::Unknown { .. } => return Err(EncodeError::UnknownFrame),
    }
    out.finish()
}

pub(super) fn encode_term(term: &Term, limits: &Limits) -> Result<Vec<u8>, EncodeError> {
    let mut out = Writer::new(limits);
    out.term(term)?;
    out.finish()
}

pub(super) fn decode_up(bytes: &[u8], limits: &Limits) -> Result<UpFrame, DecodeError> {
    let (kind, mut fields) = Reader::frame(bytes, limits)?;
    match kind {
        kind::MESSAGE => {
            fields.message().map(|(sequence, term)| UpFrame::Message { sequence, term })
        }
        kind::RAW => fields.raw().map(|(sequence, bytes)| UpFrame::Raw { sequence, bytes }),
        kind::TOKEN_PLEASE => Ok(UpFrame::TokenPlease),
        kind::ACK => fields.ack().map(UpFrame::Ack),
        kind::REPLY => fields.request().map(|(request, term)| UpFrame::Reply { request, term }),
        kind => Ok(UpFrame::Unknown { kind }),
    }
}

pub(super) fn decode_down(bytes: &[u8], limits: &Limits) -> Result<DownFrame, DecodeError> {
    let (kind, mut fields) = Reader::frame(bytes, limits)?;
    match kind {
        kind::WELCOME => Ok(DownFrame::Welcome(Welcome {
            server_time_ms: fields.value()?,
            heartbeat: Duration::from_secs(fields.value()?),
            idle_timeout: Duration::from_secs(fields.value()?),
            max_frame: fields.value()?,
        })),
        kind::MESSAGE => {
            fields.message().map(|(sequence, term)| DownFrame::Message { sequence, term })
        }
        kind::RAW => fields.raw().map(|(sequence, bytes)| DownFrame::Raw { sequence, bytes }),
        kind::TOKEN => {
            let expires_at = fields.value()?;
            let text = fields.value::<Text>()?.0;
            let token = Token::new(text).map_err(|_| DecodeError::Malformed("not a token"))?;
            Ok(DownFrame::Token(IssuedToken { token, expires_at }))
        }
        kind::ACK => fields.ack().map(DownFrame::Ack),
        kind::REQUEST => {
            fields.request().map(|(request, term)| DownFrame::Request { request, term })
        }
        kind => Ok(DownFrame::Unknown { kind }),
    }
}

pub(super) fn decode_term(bytes: &[u8], limits: &Limits) -> Result<Term, DecodeError> {
    let mut fields = Reader::new(bytes, limits)?;
    let term = fields.value::<Term>()?;
    fields.end()?;
    Ok(term)
}

/// Appends the fields of a frame.
struct Writer<'a> {
    bytes: Vec<u8>,
    limits: &'a Limits,
}

impl<'a> Writer<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self { bytes: Vec::new(), limits }
    }

    fn kind(&mut self, kind: u8) {
        self.bytes.push(kind);
    }

    fn value<T: Encode + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        // Encoding our own types into memory can only fail for a term that is too deep, and `term`
        // has already checked that.
        bincode::encode_into_std_write(value, &mut self.bytes, CONFIG)
            .map(|_| ())
            .map_err(|_| EncodeError::TooDeep { limit: self.max_depth() })
    }

    fn term(&mut self, term: &Term) -> Result<(), EncodeError> {
        if exceeds_depth(term, self.max_depth()) {
            return Err(EncodeError::TooDeep { limit: self.max_depth() });
        }
        self.value(term)
    }

    fn sequence(&mut self, sequence: Option<Sequence>) -> Result<(), EncodeError> {
        self.value(&sequence.map_or(0, |number| number.0.get()))
    }

    fn message(&mut self, sequence: Option<Sequence>, term: &Term) -> Result<(), EncodeError> {
        self.kind(kind::MESSAGE);
        self.sequence(sequence)?;
        self.term(term)
    }

    fn raw(&mut self, sequence: Option<Sequence>, bytes: &[u8]) -> Result<(), EncodeError> {
        self.kind(kind::RAW);
        self.sequence(sequence)?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn ack(&mut self, sequence: Sequence) -> Result<(), EncodeError> {
        self.kind(kind::ACK);
        self.sequence(Some(sequence))
    }

    fn request(&mut self, kind: u8, id: RequestId, term: &Term) -> Result<(), EncodeError> {
        self.kind(kind);
        self.value(&id.0)?;
        self.term(term)
    }

    fn max_depth(&self) -> u16 {
        self.limits.max_depth.min(Limits::MAX_DEPTH)
    }

    fn finish(self) -> Result<Vec<u8>, EncodeError> {
        let limit = self.limits.max_size.min(Limits::MAX_SIZE);
        if self.bytes.len() > limit {
            return Err(EncodeError::TooBig { size: self.bytes.len(), limit });
        }
        Ok(self.bytes)
    }
}

fn exceeds_depth(term: &Term, levels: u16) -> bool {
    let Some(below) = levels.checked_sub(1) else {
        return true;
    };
    match term {
        Term::Nil
        | Term::Bool(_)
        | Term::Int(_)
        | Term::Float(_)
        | Term::Str(_)
        | Term::Bytes(_)
        | Term::Atom(_) => false,
        Term::List(items) | Term::Tuple(items) => {
            items.iter().any(|item| exceeds_depth(item, below))
        }
        Term::Map(entries) => entries
            .iter()
            .any(|(key, value)| exceeds_depth(key, below) || exceeds_depth(value, below)),
    }
}

/// Reads the fields of a frame from the front.
struct Reader<'a> {
    rest: &'a [u8],
    max_depth: u16,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        let limit = limits.max_size.min(Limits::MAX_SIZE);
        if bytes.len() > limit {
            return Err(DecodeError::TooBig { size: bytes.len(), limit });
        }
        Ok(Self { rest: bytes, max_depth: limits.max_depth.min(Limits::MAX_DEPTH) })
    }

    fn frame(bytes: &'a [u8], limits: &Limits) -> Result<(u8, Self), DecodeError> {
        let reader = Self::new(bytes, limits)?;
        let (kind, rest) = reader.rest.split_first().ok_or(DecodeError::Truncated)?;
        Ok((*kind, Self { rest, ..reader }))
    }

    fn value<T: Decode<Depth>>(&mut self) -> Result<T, DecodeError> {
        let depth = Depth(self.max_depth);
        let (value, read) = bincode::decode_from_slice_with_context(self.rest, CONFIG, depth)
            .map_err(|error| self.explain(&error))?;
        self.rest = self.rest.get(read..).unwrap_or_default();
        Ok(value)
    }

    fn explain(&self, error: &ReadError) -> DecodeError {
        if let ReadError::UnexpectedEnd { .. } = error {
            DecodeError::Truncated
        } else if let ReadError::UnexpectedVariant { found, .. } = error {
            DecodeError::UnknownTerm(u8::try_from(*found).unwrap_or(u8::MAX))
        } else if let ReadError::Other(TOO_DEEP) = error {
            DecodeError::TooDeep { limit: self.max_depth }
        } else if let ReadError::Utf8 { .. } = error {
            DecodeError::Malformed("a text is not UTF-8")
        } else {
            DecodeError::Malformed("not an integer of this width")
        }
    }

    fn sequence(&mut self) -> Result<Option<Sequence>, DecodeError> {
        Ok(NonZeroU64::new(self.value()?).map(Sequence))
    }

    fn message(&mut self) -> Result<(Option<Sequence>, Term), DecodeError> {
        let sequence = self.sequence()?;
        let term = self.value()?;
        self.end()?;
        Ok((sequence, term))
    }

    fn raw(&mut self) -> Result<(Option<Sequence>, Vec<u8>), DecodeError> {
        Ok((self.sequence()?, self.rest.to_vec()))
    }

    fn ack(&mut self) -> Result<Sequence, DecodeError> {
        self.sequence()?.ok_or(DecodeError::Malformed("an acknowledgement of sequence number 0"))
    }

    fn request(&mut self) -> Result<(RequestId, Term), DecodeError> {
        let id = RequestId(self.value()?);
        let term = self.value()?;
        self.end()?;
        Ok((id, term))
    }

    fn end(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(DecodeError::Trailing(more)),
        }
    }
}

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

/// The remaining levels of nesting.
struct Depth(u16);

/// Marks our own error in bincode's `Other`.
const TOO_DEEP: &str = "too deep";

impl Decode<Depth> for Term {
    fn decode<D: Decoder<Context = Depth>>(decoder: &mut D) -> Result<Self, ReadError> {
        let Depth(left) = *decoder.context();
        decoder.context().0 = left.checked_sub(1).ok_or(ReadError::Other(TOO_DEEP))?;
        // Only what recurses is decoded here: this function's stack frame is needed once per level.
        let term = match u8::decode(decoder)? {
            tag::LIST => decode_items(decoder, 1, Self::decode).map(Self::List),
            tag::TUPLE => decode_items(decoder, 1, Self::decode).map(Self::Tuple),
            tag::MAP => decode_items(decoder, 2, decode_entry).map(Self::Map),
            tag => decode_leaf(decoder, tag),
        };
        decoder.context().0 = left;
        term
    }
}

fn decode_leaf<D: Decoder<Context = Depth>>(decoder: &mut D, tag: u8) -> Result<Term, ReadError> {
    match tag {
        tag::NIL => Ok(Term::Nil),
        tag::FALSE => Ok(Term::Bool(false)),
        tag::TRUE => Ok(Term::Bool(true)),
        tag::INT => i128::decode(decoder).map(Term::Int),
        tag::FLOAT => f64::decode(decoder).map(Term::Float),
        tag::STR => Text::decode(decoder).map(|text| Term::Str(text.0)),
        tag::BYTES => take_bytes(decoder).map(Term::Bytes),
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

/// A text whose length is checked against the input before anything is allocated.
struct Text(String);

impl Decode<Depth> for Text {
    fn decode<D: Decoder<Context = Depth>>(decoder: &mut D) -> Result<Self, ReadError> {
        String::from_utf8(take_bytes(decoder)?)
            .map(Self)
            .map_err(|error| ReadError::Utf8 { inner: error.utf8_error() })
    }
}

/// Length-prefixed bytes. The length is checked against the rest of the input.
fn take_bytes<D: Decoder<Context = Depth>>(decoder: &mut D) -> Result<Vec<u8>, ReadError> {
    let length = take_length(decoder, 1)?;
    decoder.claim_bytes_read(length)?;
    let bytes = decoder.reader().peek_read(length).map(<[u8]>::to_vec);
    let bytes = bytes.ok_or(ReadError::UnexpectedEnd { additional: length })?;
    decoder.reader().consume(length);
    Ok(bytes)
}

/// A count of items of at least `each` bytes. An error if the rest of the input cannot hold them.
fn take_length<D: Decoder<Context = Depth>>(
    decoder: &mut D,
    each: usize,
) -> Result<usize, ReadError> {
    let length = u64::decode(decoder)?;
    let least = usize::try_from(length).ok().and_then(|length| length.checked_mul(each));
    match least {
        Some(least) if decoder.reader().peek_read(least).is_some() => Ok(least / each),
        _ => Err(ReadError::UnexpectedEnd { additional: 1 }),
    }
}

fn decode_entry<D: Decoder<Context = Depth>>(decoder: &mut D) -> Result<(Term, Term), ReadError> {
    let key = Term::decode(decoder)?;
    Term::decode(decoder).map(|value| (key, value))
}

/// Count-prefixed items of at least `each` bytes.
fn decode_items<D: Decoder<Context = Depth>, T>(
    decoder: &mut D,
    each: usize,
    decode: impl Fn(&mut D) -> Result<T, ReadError>,
) -> Result<Vec<T>, ReadError> {
    let length = take_length(decoder, each)?;
    let mut items = Vec::with_capacity(length.min(MAX_PREALLOCATION / size_of::<T>()));
    for _ in 0..length {
        items.push(decode(decoder)?);
    }
    Ok(items)
}
