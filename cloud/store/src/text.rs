//! What texts that people write have in common.

/// Whether a text can stand on a line with others: not empty, not too long, nothing invisible at its
/// ends or in it.
pub(crate) fn is_one_line(text: &str, most: usize) -> bool {
    // Counting no further than needed.
    let fits = !text.is_empty() && text.chars().nth(most).is_none();
    fits && text.trim() == text && !text.chars().any(char::is_control)
}
