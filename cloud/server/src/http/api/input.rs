//! What a route accepts: query parameters and a body. They are read in `request.rs`.

use utoipa::openapi::{RefOr, Schema};

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
}

/// What a body may be.
pub(super) enum Accepts {
    Json(fn() -> RefOr<Schema>),
    /// Any JSON, or any bytes.
    Message,
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
    pub(super) fn media_types(&self) -> &'static [&'static str] {
        match self {
            Self::Json(_) => &["application/json"],
            Self::Message => &["application/json", "application/octet-stream"],
        }
    }
}
