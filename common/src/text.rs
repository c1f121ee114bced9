//! Text from elsewhere that people read: what drives a terminal, or changes the order in which a line is shown,
//! is escaped.

use std::borrow::Cow;

/// Whether a terminal or a browser obeys this character instead of showing it: control characters, the separators
/// of lines and paragraphs, and what changes the direction of text.
pub fn is_control(c: char) -> bool {
    c.is_control() || is_format(c)
}

/// U+061C, U+200E and U+200F mark a direction; U+2028 and U+2029 separate lines and paragraphs; U+202A to U+202E
/// and U+2066 to U+2069 embed, override and isolate a direction.
fn is_format(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether `byte` may belong to a character from U+007F on that [`is_control`]: in UTF-8 each contains one of these.
pub(crate) fn may_be_control(byte: u8) -> bool {
    matches!(byte, 0x7f | 0xc2 | 0xd8 | 0xe2)
}

/// Escapes control characters other than tabs, so that a line stays one line. A line of JSON keeps its value.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_if(text, |c| is_control(c) && c != '\t')
}

/// Escapes control characters other than tabs and line breaks.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_if(text, |c| is_control(c) && c != '\t' && c != '\n')
}

/// Escapes in JSON what its serializer leaves as it is, from U+007F on. The value stays the same.
pub fn escape_json(json: String) -> String {
    match escaped_json(json.as_bytes()) {
        Some(escaped) => escaped,
        None => json,
    }
}

/// Does the same with what follows the first `start` bytes.
pub fn escape_json_from(start: usize, json: &mut Vec<u8>) {
    if let Some(escaped) = json.get(start..).and_then(escaped_json) {
        json.truncate(start);
        json.extend_from_slice(escaped.as_bytes());
    }
}

/// None if nothing is to be escaped, which takes one pass over the bytes.
fn escaped_json(json: &[u8]) -> Option<String> {
    if !json.iter().copied().any(may_be_control) {
        return None;
    }
    match escape_if(std::str::from_utf8(json).ok()?, |c| is_control(c) && c > ' ') {
        Cow::Borrowed(_) => None,
        Cow::Owned(escaped) => Some(escaped),
    }
}

fn escape_if(text: &str, obeyed: impl Fn(char) -> bool) -> Cow<'_, str> {
    let Some(first) = text.find(&obeyed) else { return Cow::Borrowed(text) };
    let (clean, rest) = text.split_at(first);
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str(clean);
    for c in rest.chars() {
        match c {
            '\n' if obeyed(c) => escaped.push_str("\\n"),
            '\r' if obeyed(c) => escaped.push_str("\\r"),
            c if obeyed(c) => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_that_is_escaped_has_a_telling_byte() {
        for c in ('\u{7f}'..=char::MAX).filter(|&c| is_control(c)) {
            assert!(u32::from(c) <= 0xffff, "{c:?} needs more than four digits");
            assert!(c.to_string().bytes().any(may_be_control), "{c:?}");
        }
    }

    #[test]
    fn json_keeps_its_value_and_its_layout() {
        let text: String = ('\0'..='\u{2100}').collect();
        let json = serde_json::to_string_pretty(&[&text]).unwrap();
        let escaped = escape_json(json.clone());
        assert!(!escaped.chars().any(|c| is_control(c) && c != '\n'), "{escaped:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&escaped).unwrap(), [text]);
        let mut bytes = b"\x7f".to_vec();
        bytes.extend_from_slice(json.as_bytes());
        escape_json_from(1, &mut bytes);
        assert_eq!(bytes, format!("\x7f{escaped}").as_bytes());
    }

    #[test]
    fn lines_stay_lines_where_they_may() {
        let text = "a\tb\u{202e}c\n\u{1b}[31m";
        assert_eq!(escape(text), "a\tb\\u202ec\\n\\u001b[31m");
        assert_eq!(escape_lines(text), "a\tb\\u202ec\n\\u001b[31m");
        assert!(matches!(escape("größer …"), Cow::Borrowed(_)));
    }
}
