//! The kinds of events, as configuration, webhooks and API clients name them. Events are in `events`.

macro_rules! kinds {
    ($($name:ident => $word:literal,)+) => {
        /// The kind of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum EventKind {
            $($name,)+
        }

        impl EventKind {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)+];

            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

kinds! {
    Connected => "connected",
    Disconnected => "disconnected",
    Message => "message",
    RawMessage => "raw-message",
    Sent => "sent",
    RawSent => "raw-sent",
    MessageSettled => "message-settled",
    Registered => "registered",
    Returned => "returned",
    Refused => "refused",
    Revoked => "revoked",
    Blocked => "blocked",
    Unblocked => "unblocked",
}

impl EventKind {
    /// All names, for messages.
    pub(crate) fn words() -> String {
        Self::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_parsed_from_its_own_name() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_word(kind.as_str()), Some(*kind));
        }
        assert_eq!(EventKind::from_word("Message"), None);
    }
}
