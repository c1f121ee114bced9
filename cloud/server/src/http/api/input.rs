//! What a route takes: parameters of the query, and a body.

use utoipa::openapi::{RefOr, Schema};

/// A parameter of the query.
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
    Limit,
    Kind,
}

/// What a body may be.
pub(super) enum Accepts {
    Json(fn() -> RefOr<Schema>),
    /// Any JSON, or any bytes.
    Message,
}

impl Accepts {
    pub(super) fn media_types(&self) -> &'static [&'static str] {
        match self {
            Self::Json(_) => &["application/json"],
            Self::Message => &["application/json", "application/octet-stream"],
        }
    }
}
