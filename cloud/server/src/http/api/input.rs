//! What a route accepts: query parameters and a body. They are read in `request.rs`.

use super::schemas::Named;

/// A query parameter.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) kind: ParameterKind,
    pub(super) repeats: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParameterKind {
    Text,
    Flag,
    /// From 1 to this number.
    Number(usize),
    EventKind,
    AuditClass,
    ClaimState,
    Lane,
    /// The name of a consumer of the message log.
    Consumer,
    /// From 1 to this number of characters, printable ASCII without spaces.
    Key(usize),
}

/// What a body may be.
pub(super) enum Accepts {
    Json(Named),
    /// JSON of up to this number of bytes.
    LargeJson(Named, usize),
    /// Any JSON, as a message.
    Message,
    /// Any bytes, as a message.
    Bytes,
}

impl Parameter {
    pub(super) const fn text(name: &'static str, about: &'static str) -> Self {
        Self { name, about, kind: ParameterKind::Text, repeats: false }
    }

    pub(super) const fn flag(name: &'static str, about: &'static str) -> Self {
        Self { kind: ParameterKind::Flag, ..Self::text(name, about) }
    }
}

impl Accepts {
    pub(super) fn media_type(&self) -> &'static str {
        match self {
            Self::Json(_) | Self::LargeJson(..) | Self::Message => "application/json",
            Self::Bytes => "application/octet-stream",
        }
    }

    pub(super) fn is_message(&self) -> bool {
        match self {
            Self::Json(_) | Self::LargeJson(..) => false,
            Self::Message | Self::Bytes => true,
        }
    }
}
