//! The frames of kept messages in bincode.

use super::term::Checked;
use super::{Reader, Writer, decode_term, kind};
use crate::delivery::{
    Ack, Capabilities, Content, DeliveryFrame, InstallationId, Kept, Lane, Resume, Skip,
    SkipReason, StreamId, Tag,
};
use crate::encoded_term::EncodedTerm;
use crate::frame::DeliveryOffer;
use crate::limits::{DecodeError, EncodeError, Limits};

/// The flags of a kept message.
mod flag {
    pub(super) const REDELIVERED: u64 = 1;
    pub(super) const RAW: u64 = 2;
}

const BEYOND: DecodeError = DecodeError::Malformed("a number above the highest of a stream");

impl Writer<'_> {
    pub(super) fn delivery(&mut self, frame: &DeliveryFrame) -> Result<(), EncodeError> {
        match frame {
            DeliveryFrame::Resume(resume) => {
                self.kind(kind::RESUME);
                self.value(&resume.handle)?;
                self.value(&resume.lane.number())?;
                self.bytes.extend_from_slice(&resume.stream.0);
                self.value(&resume.oldest)?;
                self.value(&resume.newest)
            }
            DeliveryFrame::Kept(kept) => self.kept(kept),
            DeliveryFrame::Skip(skip) => {
                self.kind(kind::SKIP);
                self.value(&skip.handle)?;
                self.value(&skip.from)?;
                self.value(&skip.to)?;
                self.value(&skip.reason.number())
            }
            DeliveryFrame::Close { handle } => {
                self.kind(kind::CLOSE);
                self.value(handle)
            }
            DeliveryFrame::Ack(ack) => {
                self.kind(kind::ACK);
                self.value(&ack.handle)?;
                self.value(&ack.up_to)?;
                self.value(&ack.tag.0)?;
                self.value(&ack.credit_to)?;
                self.value(&ack.credit_bytes)?;
                self.value(&(ack.rejected.len() as u64))?;
                ack.rejected.iter().try_for_each(|sequence| self.value(sequence))
            }
            DeliveryFrame::Rewind { handle, to } => {
                self.kind(kind::REWIND);
                self.value(handle)?;
                self.value(to)
            }
        }
    }

    fn kept(&mut self, kept: &Kept) -> Result<(), EncodeError> {
        let (weight, limit) = (kept.content.weight(), self.limits.max_decoded);
        if weight > limit {
            return Err(EncodeError::TooHeavy { weight, limit });
        }
        self.kind(kind::KEPT);
        self.value(&kept.handle)?;
        self.value(&kept.sequence)?;
        self.value(&kept.tag.0)?;
        self.value(&kept.sent_at_ms.unwrap_or(0))?;
        let redelivered = if kept.redelivered { flag::REDELIVERED } else { 0 };
        let raw = if kept.content.is_raw() { flag::RAW } else { 0 };
        self.value(&(redelivered | raw))?;
        self.bytes.extend_from_slice(kept.content.as_bytes());
        Ok(())
    }
}

impl Reader<'_> {
    /// The capabilities at the end of a Welcome, which older clouds do not send.
    pub(super) fn offer(&mut self) -> Result<Option<DeliveryOffer>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let capabilities = Capabilities(self.value()?);
        let installation = InstallationId(self.id()?);
        Ok(Some(DeliveryOffer { capabilities, installation }))
    }

    /// The fields of a frame of this kind; `None` if it is another kind.
    pub(super) fn delivery(&mut self, kind: u8) -> Result<Option<DeliveryFrame>, DecodeError> {
        Ok(Some(match kind {
            kind::RESUME => DeliveryFrame::Resume(self.resume()?),
            kind::KEPT => DeliveryFrame::Kept(self.kept()?),
            kind::SKIP => DeliveryFrame::Skip(self.skip()?),
            kind::CLOSE => DeliveryFrame::Close { handle: self.value()? },
            kind::ACK => DeliveryFrame::Ack(self.ack()?),
            kind::REWIND => DeliveryFrame::Rewind { handle: self.value()?, to: self.value()? },
            _ => return Ok(None),
        }))
    }

    fn resume(&mut self) -> Result<Resume, DecodeError> {
        let handle = self.value()?;
        let lane = Lane::from_number(self.value()?);
        let lane = lane.ok_or(DecodeError::Malformed("not a lane"))?;
        let stream = StreamId(self.id()?);
        let (oldest, newest) = (self.number()?, self.value::<u64>()?);
        if newest < oldest - 1 {
            return Err(DecodeError::Malformed("the newest number is before the oldest"));
        }
        if newest > Limits::MAX_NUMBER {
            return Err(BEYOND);
        }
        Ok(Resume { handle, lane, stream, oldest, newest })
    }

    /// A kept message up to its content, which is empty.
    pub(super) fn kept_without_content(&mut self) -> Result<Kept, DecodeError> {
        Ok(self.kept_head()?.0)
    }

    /// A kept message up to its content, and whether that is raw.
    fn kept_head(&mut self) -> Result<(Kept, bool), DecodeError> {
        let (handle, sequence) = (self.value()?, self.number()?);
        let tag = Tag(self.value()?);
        let sent_at_ms = Some(self.value::<u64>()?).filter(|ms| *ms != 0);
        let flags = self.value::<u64>()?;
        let redelivered = flags & flag::REDELIVERED != 0;
        let content = Content::Raw(Vec::new());
        let kept = Kept { handle, sequence, tag, sent_at_ms, redelivered, content };
        Ok((kept, flags & flag::RAW != 0))
    }

    fn kept(&mut self) -> Result<Kept, DecodeError> {
        let (kept, is_raw) = self.kept_head()?;
        let content = if is_raw {
            self.budget.take_text(self.rest.len())?;
            Content::Raw(self.rest.to_vec())
        } else {
            let (term, before) = (self.rest, self.budget.spent());
            self.term::<Checked>()?;
            self.end()?;
            Content::Term(EncodedTerm::new(term, self.budget.spent() - before, decode_term))
        };
        Ok(Kept { content, ..kept })
    }

    fn skip(&mut self) -> Result<Skip, DecodeError> {
        let (handle, from, to) = (self.value()?, self.number()?, self.number()?);
        if to < from {
            return Err(DecodeError::Malformed("the last number is before the first"));
        }
        let reason = SkipReason::from_number(self.value()?);
        Ok(Skip { handle, from, to, reason })
    }

    fn ack(&mut self) -> Result<Ack, DecodeError> {
        let (handle, up_to) = (self.value()?, self.value()?);
        let tag = Tag(self.value()?);
        let (credit_to, credit_bytes) = (self.value()?, self.value()?);
        let count = self.value::<u64>()?;
        // Each takes at least a byte.
        let fits = usize::try_from(count).ok().filter(|count| *count <= self.rest.len());
        let count = fits.ok_or(DecodeError::Truncated)?;
        self.budget.take_text(count.saturating_mul(size_of::<u64>()))?;
        let mut rejected = Vec::with_capacity(count);
        let mut last = 0;
        for _ in 0..count {
            let number = self.value()?;
            if number <= last || number > up_to {
                return Err(DecodeError::Malformed("rejected numbers that are not ascending"));
            }
            last = number;
            rejected.push(number);
        }
        Ok(Ack { handle, up_to, tag, credit_to, credit_bytes, rejected })
    }

    /// A number of a message.
    fn number(&mut self) -> Result<u64, DecodeError> {
        match self.value()? {
            0 => Err(DecodeError::Malformed("a message with the number 0")),
            number @ 1..=Limits::MAX_NUMBER => Ok(number),
            _ => Err(BEYOND),
        }
    }

    fn id(&mut self) -> Result<[u8; 16], DecodeError> {
        let (id, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*id)
    }
}
