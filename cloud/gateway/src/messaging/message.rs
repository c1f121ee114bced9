//! A term on its way to any number of devices, encoded once, and the topic it is published on.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fedecks_protocol::{Dialect, DownFrame, EncodeError, Limits, Term};

/// A term on its way to any number of devices. Clones share it, and share its encoded frame too:
/// publishing to ten thousand devices costs one encoding.
#[derive(Clone)]
pub struct Message(Arc<Shared>);

/// Names what sessions and the application subscribe to. Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// What was published on a topic.
#[derive(Debug, Clone)]
pub struct Info {
    /// The topic.
    pub topic: Topic,
    /// What was published.
    pub message: Message,
}

struct Shared {
    /// The term as a frame owns it, so that encoding takes no copy.
    frame: DownFrame,
    /// About how many bytes the term takes in memory.
    weight: usize,
    /// The frame's bytes in the one dialect that there is.
    bincode: OnceLock<Result<Bytes, EncodeError>>,
}

/// What nodes share is encoded within what every node allows; each looks at its own limit besides.
const LIMITS: Limits = Limits { max_size: Limits::MAX_SIZE, max_depth: 64 };

static NIL: Term = Term::Nil;

impl Message {
    /// The term, without a copy if this is its only owner.
    pub fn into_term(self) -> Term {
        match Arc::try_unwrap(self.0) {
            Ok(Shared { frame: DownFrame::Message { term, .. }, .. }) => term,
            Ok(_) => Term::Nil,
            Err(shared) => shared.term().clone(),
        }
    }

    /// The bytes of the frame that carries the term, at most `max_size` of them.
    pub(crate) fn frame(&self, dialect: Dialect, max_size: usize) -> Result<Bytes, EncodeError> {
        let encoded = match dialect {
            Dialect::Bincode => &self.0.bincode,
        };
        let encode = || dialect.encode_down(&self.0.frame, &LIMITS).map(Bytes::from);
        let frame = encoded.get_or_init(encode).clone()?;
        if frame.len() > max_size {
            return Err(EncodeError::TooBig { size: frame.len(), limit: max_size });
        }
        Ok(frame)
    }

    /// About how many bytes it takes in memory.
    pub fn weight(&self) -> usize {
        self.0.weight
    }
}

impl From<Term> for Message {
    fn from(term: Term) -> Self {
        Self(Arc::new(Shared {
            weight: weight(&term),
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
        // No other kind of frame is ever put here.
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

fn weight(term: &Term) -> usize {
    let inside = match term {
        Term::Nil | Term::Bool(_) | Term::Int(_) | Term::Float(_) => 0,
        Term::Str(text) | Term::Atom(text) => text.len(),
        Term::Bytes(bytes) => bytes.len(),
        Term::List(items) | Term::Tuple(items) => items.iter().map(weight).sum(),
        Term::Map(entries) => entries.iter().map(|(key, value)| weight(key) + weight(value)).sum(),
    };
    size_of::<Term>() + inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_message_share_one_encoding() {
        let message = Message::from(Term::from("hello"));
        let one = message.frame(Dialect::Bincode, 100).unwrap();
        let other = message.clone().frame(Dialect::Bincode, 100).unwrap();
        assert_eq!(one, &b"\x01\x00\x05\x05hello"[..]);
        assert_eq!(one.as_ptr(), other.as_ptr());
    }

    #[test]
    fn a_message_above_the_limit_has_no_frame() {
        let message = Message::from(Term::from("hello"));
        let error = message.frame(Dialect::Bincode, 8).unwrap_err();
        assert_eq!(error, EncodeError::TooBig { size: 9, limit: 8 });
        assert!(message.frame(Dialect::Bincode, 9).is_ok());
    }

    #[test]
    fn the_last_owner_gets_the_term_and_others_a_copy() {
        let message = Message::from(Term::from("hello"));
        assert_eq!(message.clone().into_term(), Term::from("hello"));
        assert_eq!(message.into_term(), Term::from("hello"));
    }

    #[test]
    fn a_message_weighs_at_least_what_it_holds() {
        let nested = Term::List(vec![Term::Bytes(vec![0; 1000]), Term::from("x".repeat(500))]);
        assert!((1500..2000).contains(&Message::from(nested).weight()));
    }

    #[test]
    fn debug_of_a_message_shows_nothing_of_it() {
        assert_eq!(format!("{:?}", Message::from(Term::from("secret"))), "Message(…)");
    }
}
