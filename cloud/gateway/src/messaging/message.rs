//! A message for any number of devices, encoded once, and the topic that it is published on.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fedecks_protocol::{Dialect, DownFrame, EncodeError, Limits, Term, TermError};
use serde::Serialize;

/// A term for any number of devices. Clones share the term and its encoded frame: publishing to ten
/// thousand devices costs one encoding.
///
/// ```no_run
/// use fedecks_cloud::{DeviceId, Hub, Message};
///
/// # async fn example(hub: &Hub, fleet: &[DeviceId]) -> Result<(), Box<dyn std::error::Error>> {
/// let message = Message::new(&("fan", true))?;
/// for device in fleet {
///     hub.send_message(device, &message).await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Message(Arc<Shared>);

/// The name of a topic, which sessions and programs subscribe to. Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// A message that was published on a topic.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Published {
    /// The topic.
    pub topic: Topic,
    /// The message.
    pub message: Message,
}

struct Shared {
    /// Contains the term, so that encoding needs no copy.
    frame: DownFrame,
    /// See [`Term::weight`].
    weight: usize,
    /// The frame encoded in the only dialect there is.
    bincode: OnceLock<Result<Bytes, EncodeError>>,
}

/// The limits that every node allows. Each node checks its own limits of size and weight as well.
const LIMITS: Limits =
    Limits { max_size: Limits::MAX_SIZE, max_depth: 64, max_decoded: usize::MAX };

static NIL: Term = Term::Nil;

impl Message {
    /// A message with any serializable value.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Result<Self, TermError> {
        Term::from_serialize(value).map(Self::from)
    }

    /// The term; copies it only if it is shared.
    pub fn into_term(self) -> Term {
        match Arc::try_unwrap(self.0) {
            Ok(Shared { frame: DownFrame::Message { term, .. }, .. }) => term,
            Ok(_) => Term::Nil,
            Err(shared) => shared.term().clone(),
        }
    }

    /// The encoded frame with the term, within the limits of size and weight.
    pub(crate) fn frame(&self, dialect: Dialect, limits: &Limits) -> Result<Bytes, EncodeError> {
        let (weight, limit) = (self.0.weight, limits.max_decoded);
        if weight > limit {
            return Err(EncodeError::TooHeavy { weight, limit });
        }
        let encoded = match dialect {
            Dialect::Bincode => &self.0.bincode,
        };
        let encode = || dialect.encode_down(&self.0.frame, &LIMITS).map(Bytes::from);
        let frame = encoded.get_or_init(encode).clone()?;
        if frame.len() > limits.max_size {
            return Err(EncodeError::TooBig { size: frame.len(), limit: limits.max_size });
        }
        Ok(frame)
    }

    /// Approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        self.0.weight
    }
}

impl From<Term> for Message {
    fn from(term: Term) -> Self {
        Self(Arc::new(Shared {
            weight: term.weight(),
            frame: DownFrame::Message { sequence: None, term },
            bincode: OnceLock::new(),
        }))
    }
}

impl Deref for Message {
    type Target = Term;

    fn deref(&self) -> &Term {
        self.0.term()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Message(…)")
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.0.term() == other.0.term()
    }
}

impl Shared {
    fn term(&self) -> &Term {
        // `From<Term>` creates no other kind of frame.
        if let DownFrame::Message { term, .. } = &self.frame { term } else { &NIL }
    }
}

impl Topic {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for Topic {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<&Topic> for Topic {
    fn from(topic: &Topic) -> Self {
        topic.clone()
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_encoded_once_for_all_clones() {
        let message = Message::from(Term::from("hello"));
        let limits = |max_size| Limits { max_size, ..Limits::default() };
        let error = message.frame(Dialect::Bincode, &limits(8)).unwrap_err();
        assert_eq!(error, EncodeError::TooBig { size: 9, limit: 8 });
        let light = Limits { max_decoded: 52, ..Limits::default() };
        let error = message.frame(Dialect::Bincode, &light).unwrap_err();
        assert_eq!(error, EncodeError::TooHeavy { weight: 53, limit: 52 });
        let one = message.frame(Dialect::Bincode, &limits(9)).unwrap();
        let other = message.clone().frame(Dialect::Bincode, &limits(100)).unwrap();
        assert_eq!(one, &b"\x01\x00\x05\x05hello"[..]);
        assert_eq!(one.as_ptr(), other.as_ptr());
    }

    #[test]
    fn into_term_returns_the_term_shared_or_not() {
        let message = Message::from(Term::from("hello"));
        assert_eq!(format!("{message:?}"), "Message(…)", "the log does not contain the term");
        assert_eq!(message.clone().into_term(), Term::from("hello"));
        assert_eq!(message.into_term(), Term::from("hello"));
    }

    #[test]
    fn a_message_weighs_at_least_its_content() {
        let nested = Term::List(vec![Term::Bytes(vec![0; 1000]), Term::from("x".repeat(500))]);
        assert!((1500..2000).contains(&Message::from(nested).weight()));
    }
}
