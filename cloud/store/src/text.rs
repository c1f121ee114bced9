//! A check that names and labels share.

/// Whether a text fits on a line with others: not empty, at most `max` characters, no control
/// characters, no space at either end.
pub(crate) fn is_one_line(text: &str, max: usize) -> bool {
    // Counts no further than needed.
    let fits = !text.is_empty() && text.chars().nth(max).is_none();
    fits && text.trim() == text && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use crate::accounts::{InvalidAccountName, check_account_name};
    use crate::devices::{InvalidLabel, check_label};

    #[test]
    fn labels_and_account_names_are_short_and_fit_on_one_line() {
        let check = |text: &str| (check_label(text), check_account_name(text));
        let most = "é".repeat(128);
        let good = ["marvin", "Boiler 3", "Küche", "Zaphod Beeblebrox", "fleet@example.com", &most];
        for text in good {
            assert_eq!(check(text), (Ok(()), Ok(())), "{text:?}");
        }
        let more = "é".repeat(129);
        for text in ["", " ", " marvin", "marvin\n", "two\nlines", "mar\tvin", "\u{7f}", &more] {
            assert_eq!(check(text), (Err(InvalidLabel), Err(InvalidAccountName)), "{text:?}");
        }
    }
}
