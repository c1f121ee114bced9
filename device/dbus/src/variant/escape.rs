//! The object paths of escapes.

pub(super) const NIL: &str = "/org/fedecks/term/nil";
pub(super) const INT: &str = "/org/fedecks/term/int";
pub(super) const ATOM: &str = "/org/fedecks/term/atom";
pub(super) const TEXT: &str = "/org/fedecks/term/text";
pub(super) const TUPLE: &str = "/org/fedecks/term/tuple";
pub(super) const MAP: &str = "/org/fedecks/term/map";
pub(super) const ESCAPES: &str = "/org/fedecks/term/";
