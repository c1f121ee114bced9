//! The dialect `fedecks.v1.bincode`: a kind byte, then the frame's fields in bincode 2's standard
//! encoding (little-endian, variable-length integers, zigzag for signed ones).

mod config;
mod delivery;
mod request;
mod term;

use std::num::NonZeroU64;
use std::time::Duration;

use bincode::de::Decode;
use bincode::enc::Encode;
use bincode::error::DecodeError as ReadError;

use self::config::CONFIG;
use self::term::{Checked, Context, OVER_BUDGET, Text};
use super::received::Received;
use crate::budget::Budget;
use crate::delivery::{Capabilities, Kept};
use crate::encoded_term::EncodedTerm;
use crate::frame::{DownFrame, IssuedToken, Sequence, UpFrame, Welcome};
use crate::limits::{DecodeError, EncodeError, Limits};
use crate::request::UndecodableContent;
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
    pub(super) const HELLO: u8 = 0x20;
    pub(super) const RESUME: u8 = 0x21;
    pub(super) const KEPT: u8 = 0x22;
    pub(super) const SKIP: u8 = 0x23;
    pub(super) const CLOSE: u8 = 0x24;
    pub(super) const REWIND: u8 = 0x25;
    pub(super) const KEEP_ALIVE: u8 = 0x26;
    pub(super) const ALIVE: u8 = 0x27;
    pub(super) const NO_REPLY: u8 = 0x28;
    pub(super) const CANCEL: u8 = 0x29;
}

pub(super) fn encode_up(frame: &UpFrame, limits: &Limits) -> Result<Vec<u8>, EncodeError> {
    let mut out = Writer::new(limits);
    match frame {
        UpFrame::Message { sequence, term } => out.message(*sequence, term)?,
        UpFrame::Raw { sequence, bytes } => out.raw(*sequence, bytes)?,
        UpFrame::TokenPlease => out.kind(kind::TOKEN_PLEASE),
        UpFrame::Hello(capabilities) => {
            out.kind(kind::HELLO);
            out.value(&capabilities.0)?;
        }
        UpFrame::Delivery(frame) => out.delivery(frame)?,
        UpFrame::KeepAlive(number) => {
            out.kind(kind::KEEP_ALIVE);
            out.value(number)?;
        }
        UpFrame::Request(frame) => out.request(frame)?,
        UpFrame::Unknown { .. } => return Err(EncodeError::UnknownFrame),
    }
    out.finish()
}

pub(super) fn encode_down(frame: &DownFrame, limits: &Limits) -> Result<Vec<u8>, EncodeError> {
    let mut out = Writer::new(limits);
    match frame {
        DownFrame::Welcome(welcome) => {
            // At once, for the fields below: every connection gets one.
            out.bytes.reserve(64);
            out.kind(kind::WELCOME);
            out.value(&welcome.server_time_ms)?;
            out.value(&welcome.heartbeat.as_secs())?;
            out.value(&welcome.idle_timeout.as_secs())?;
            out.value(&welcome.max_frame)?;
            if let Some(offer) = &welcome.delivery {
                out.value(&offer.capabilities.0)?;
                out.bytes.extend_from_slice(&offer.installation.0);
            }
        }
        DownFrame::Message { sequence, term } => out.message(*sequence, term)?,
        DownFrame::Raw { sequence, bytes } => out.raw(*sequence, bytes)?,
        DownFrame::Token(issued) => {
            out.kind(kind::TOKEN);
            out.value(&issued.expires_at)?;
            out.value(issued.token.expose())?;
        }
        DownFrame::Delivery(frame) => out.delivery(frame)?,
        DownFrame::Alive(number) => {
            out.kind(kind::ALIVE);
            out.value(number)?;
        }
        DownFrame::Request(frame) => out.request(frame)?,
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
    let budget = Budget::new(limits);
    let (kind, mut fields) = Reader::frame(bytes, limits, &budget)?;
    match kind {
        kind::MESSAGE => {
            fields.message().map(|(sequence, term)| UpFrame::Message { sequence, term })
        }
        kind::RAW => fields.raw().map(|(sequence, bytes)| UpFrame::Raw { sequence, bytes }),
        kind::TOKEN_PLEASE => Ok(UpFrame::TokenPlease),
        kind::HELLO => fields.value().map(|set| UpFrame::Hello(Capabilities(set))),
        kind::KEEP_ALIVE => fields.value().map(UpFrame::KeepAlive),
        kind => {
            if let Some(frame) = fields.delivery(kind)? {
                return Ok(UpFrame::Delivery(frame));
            }
            Ok(fields.request(kind)?.map_or(UpFrame::Unknown { kind }, UpFrame::Request))
        }
    }
}

pub(super) fn receive_down(bytes: &[u8], limits: &Limits) -> Result<Received, DecodeError> {
    let budget = Budget::new(limits);
    let (kind, mut fields) = Reader::frame(bytes, limits, &budget)?;
    if kind != kind::MESSAGE {
        return decode_down(bytes, limits).map(Received::Frame);
    }
    fields.sequence()?;
    let term = fields.rest;
    fields.term::<Checked>()?;
    fields.end()?;
    Ok(Received::Message(EncodedTerm::new(term, budget.spent(), decode_term)))
}

pub(super) fn decode_down(bytes: &[u8], limits: &Limits) -> Result<DownFrame, DecodeError> {
    let budget = Budget::new(limits);
    let (kind, mut fields) = Reader::frame(bytes, limits, &budget)?;
    match kind {
        kind::WELCOME => Ok(DownFrame::Welcome(Welcome {
            server_time_ms: fields.value()?,
            heartbeat: Duration::from_secs(fields.value()?),
            idle_timeout: Duration::from_secs(fields.value()?),
            max_frame: fields.value()?,
            delivery: fields.offer()?,
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
        kind::ALIVE => fields.value().map(DownFrame::Alive),
        kind => {
            if let Some(frame) = fields.delivery(kind)? {
                return Ok(DownFrame::Delivery(frame));
            }
            Ok(fields.request(kind)?.map_or(DownFrame::Unknown { kind }, DownFrame::Request))
        }
    }
}

pub(super) fn decode_term(bytes: &[u8], limits: &Limits) -> Result<Term, DecodeError> {
    let budget = Budget::new(limits);
    let mut fields = Reader::new(bytes, limits, &budget)?;
    let term = fields.term()?;
    fields.end()?;
    Ok(term)
}

pub(super) fn decode_two_texts(bytes: &[u8]) -> Option<[(&str, &str); 2]> {
    term::two_texts(bytes)
}

pub(super) fn kept_without_content(bytes: &[u8], limits: &Limits) -> Option<Kept> {
    let budget = Budget::new(limits);
    let (kind, mut fields) = Reader::frame(bytes, limits, &budget).ok()?;
    (kind == kind::KEPT).then(|| fields.kept_without_content().ok()).flatten()
}

pub(super) fn undecodable_request(bytes: &[u8], limits: &Limits) -> Option<UndecodableContent> {
    let budget = Budget::new(limits);
    let (kind, mut fields) = Reader::frame(bytes, limits, &budget).ok()?;
    fields.undecodable(kind)
}

pub(super) fn keep_term(term: &Term, limits: &Limits) -> Result<EncodedTerm, EncodeError> {
    let bytes = encode_term(term, limits)?;
    Ok(EncodedTerm::new(&bytes, term.weight(), decode_term))
}

pub(super) fn check_term(bytes: &[u8], limits: &Limits) -> Result<EncodedTerm, DecodeError> {
    let budget = Budget::new(limits);
    let mut fields = Reader::new(bytes, limits, &budget)?;
    fields.term::<Checked>()?;
    fields.end()?;
    Ok(EncodedTerm::new(bytes, budget.spent(), decode_term))
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
        let (weight, limit) = (term.weight(), self.limits.max_decoded);
        if weight > limit {
            return Err(EncodeError::TooHeavy { weight, limit });
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
    budget: &'a Budget,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], limits: &Limits, budget: &'a Budget) -> Result<Self, DecodeError> {
        let limit = limits.max_size.min(Limits::MAX_SIZE);
        if bytes.len() > limit {
            return Err(DecodeError::TooBig { size: bytes.len(), limit });
        }
        Ok(Self { rest: bytes, budget })
    }

    fn frame(
        bytes: &'a [u8],
        limits: &Limits,
        budget: &'a Budget,
    ) -> Result<(u8, Self), DecodeError> {
        let reader = Self::new(bytes, limits, budget)?;
        let (kind, rest) = reader.rest.split_first().ok_or(DecodeError::Truncated)?;
        Ok((*kind, Self { rest, ..reader }))
    }

    fn value<T: Decode<Context<'a>>>(&mut self) -> Result<T, DecodeError> {
        let context = Context::new(self.budget);
        let (value, read) = bincode::decode_from_slice_with_context(self.rest, CONFIG, context)
            .map_err(|error| self.explain(&error))?;
        self.rest = self.rest.get(read..).unwrap_or_default();
        Ok(value)
    }

    /// A term, itself included in the budget.
    fn term<T: Decode<Context<'a>>>(&mut self) -> Result<T, DecodeError> {
        self.budget.take(Budget::TERM)?;
        self.value()
    }

    fn explain(&self, error: &ReadError) -> DecodeError {
        if let ReadError::UnexpectedEnd { .. } = error {
            DecodeError::Truncated
        } else if let ReadError::UnexpectedVariant { found, .. } = error {
            DecodeError::UnknownTerm(u8::try_from(*found).unwrap_or(u8::MAX))
        } else if let (ReadError::Other(OVER_BUDGET), Some(over)) = (error, self.budget.exceeded())
        {
            over.into()
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
        let term = self.term()?;
        self.end()?;
        Ok((sequence, term))
    }

    fn raw(&mut self) -> Result<(Option<Sequence>, Vec<u8>), DecodeError> {
        let sequence = self.sequence()?;
        self.budget.take_text(self.rest.len())?;
        Ok((sequence, self.rest.to_vec()))
    }

    fn end(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(DecodeError::Trailing(more)),
        }
    }
}
