//! A check that names and labels share.

use fedecks_common::text::is_control;

/// Why a text does not fit on a line with others.
pub(crate) enum Unfit {
    /// It is empty, has more characters than allowed, or a space at either end.
    Form,
    /// The first character that is not to be shown, and its position, counted from 1.
    Character(usize, char),
}

/// Checks that a text is not empty, has at most `max` characters, none that controls what shows it, and no space at
/// either end.
pub(crate) fn check_line(text: &str, max: usize) -> Result<(), Unfit> {
    // Looks no further than needed.
    let unfit = text.chars().take(max).zip(1..).find(|(c, _)| is_control(*c));
    if let Some((character, position)) = unfit {
        return Err(Unfit::Character(position, character));
    }
    let fits = !text.is_empty() && text.chars().nth(max).is_none() && text.trim() == text;
    if fits { Ok(()) } else { Err(Unfit::Form) }
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
        for text in ["", " ", " marvin", &more] {
            let expected = (Err(InvalidLabel::Form), Err(InvalidAccountName::Form));
            assert_eq!(check(text), expected, "{text:?}");
        }
        for text in ["marvin\n", "two\nlines", "mar\tvin", "\u{7f}", "\u{9b}31m"] {
            let (label, account) = check(text);
            assert!(matches!(label, Err(InvalidLabel::Character { .. })), "{text:?}");
            assert!(matches!(account, Err(InvalidAccountName::Character { .. })), "{text:?}");
        }
    }

    #[test]
    fn marks_of_direction_are_refused_with_their_position() {
        for mark in
            "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars()
        {
            let text = format!("ab{mark}c");
            let shown = format!("character 3 is U+{:04X}", u32::from(mark));
            for error in [
                check_label(&text).unwrap_err().to_string(),
                check_account_name(&text).unwrap_err().to_string(),
            ] {
                assert!(error.ends_with(&shown), "{error}");
            }
        }
    }
}
