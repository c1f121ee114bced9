//! The frames of requests in bincode.

use super::term::{Checked, Text};
use super::{Reader, Writer, decode_term, kind};
use crate::encoded_term::EncodedTerm;
use crate::limits::{DecodeError, EncodeError};
use crate::request::{NoReplyReason, RequestFrame, RequestId, UndecodableContent, cut};

impl Writer<'_> {
    pub(super) fn request(&mut self, frame: &RequestFrame) -> Result<(), EncodeError> {
        match frame {
            RequestFrame::Request { request, timeout_ms, content } => {
                self.kind(kind::REQUEST);
                self.value(&request.0)?;
                self.value(timeout_ms)?;
                self.content(content)
            }
            RequestFrame::Reply { request, content } => {
                self.kind(kind::REPLY);
                self.value(&request.0)?;
                self.content(content)
            }
            RequestFrame::NoReply { request, reason, text } => {
                self.kind(kind::NO_REPLY);
                self.value(&request.0)?;
                self.value(&reason.number())?;
                self.value(cut(text))
            }
            RequestFrame::Cancel { request } => {
                self.kind(kind::CANCEL);
                self.value(&request.0)
            }
        }
    }

    fn content(&mut self, content: &EncodedTerm) -> Result<(), EncodeError> {
        let (weight, limit) = (content.weight(), self.limits.max_decoded);
        if weight > limit {
            return Err(EncodeError::TooHeavy { weight, limit });
        }
        self.bytes.extend_from_slice(content.as_bytes());
        Ok(())
    }
}

impl Reader<'_> {
    /// The fields of a frame of this kind; `None` if it is another kind.
    pub(super) fn request(&mut self, kind: u8) -> Result<Option<RequestFrame>, DecodeError> {
        Ok(Some(match kind {
            kind::REQUEST => {
                let (request, timeout_ms) = (RequestId(self.value()?), self.value()?);
                RequestFrame::Request { request, timeout_ms, content: self.content()? }
            }
            kind::REPLY => {
                let request = RequestId(self.value()?);
                RequestFrame::Reply { request, content: self.content()? }
            }
            kind::NO_REPLY => {
                let request = RequestId(self.value()?);
                let reason = NoReplyReason::from_number(self.value()?);
                let mut text = self.value::<Text>()?.0;
                text.truncate(cut(&text).len());
                RequestFrame::NoReply { request, reason, text }
            }
            kind::CANCEL => RequestFrame::Cancel { request: RequestId(self.value()?) },
            _ => return Ok(None),
        }))
    }

    fn content(&mut self) -> Result<EncodedTerm, DecodeError> {
        let (term, before) = (self.rest, self.budget.spent());
        self.term::<Checked>()?;
        self.end()?;
        Ok(EncodedTerm::new(term, self.budget.spent() - before, decode_term))
    }

    /// A request or a reply up to its content.
    pub(super) fn undecodable(&mut self, kind: u8) -> Option<UndecodableContent> {
        let request = RequestId(self.value().ok()?);
        match kind {
            kind::REQUEST => {
                let _timeout: u64 = self.value().ok()?;
                Some(UndecodableContent::Request(request))
            }
            kind::REPLY => Some(UndecodableContent::Reply(request)),
            _ => None,
        }
    }
}
