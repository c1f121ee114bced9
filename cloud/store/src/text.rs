//! A check that names and labels share.

/// Whether a text fits on a line with others: not empty, at most `max` characters, no control
/// characters, no space at either end.
pub(crate) fn is_one_line(text: &str, max: usize) -> bool {
    // Counts no further than needed.
    let fits = !text.is_empty() && text.chars().nth(max).is_none();
    fits && text.trim() == text && !text.chars().any(char::is_control)
}
