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
    if is_plain(json.as_bytes()) { json } else { escaped_json(&json).unwrap_or(json) }
}

/// Does the same with what follows the first `start` bytes.
pub fn escape_json_from(start: usize, json: &mut Vec<u8>) {
    let is_escaped = |added: &&[u8]| !is_plain(added) && find_high_control(added, 0).is_some();
    let added = json.get(start..).filter(is_escaped);
    if let Some(escaped) = added.and_then(|added| escaped_json(std::str::from_utf8(added).ok()?)) {
        json.truncate(start);
        json.extend_from_slice(escaped.as_bytes());
    }
}

/// None if nothing is to be escaped.
fn escaped_json(json: &str) -> Option<String> {
    let mut found = Some(find_high_control(json.as_bytes(), 0)?);
    let mut escaped = String::with_capacity(json.len() + json.len() / 8 + 16);
    let mut copied = 0;
    while let Some((at, c)) = found {
        escaped.push_str(json.get(copied..at)?);
        push_escape(c, &mut escaped);
        copied = at + c.len_utf8();
        found = find_high_control(json.as_bytes(), copied);
    }
    escaped.push_str(json.get(copied..)?);
    Some(escaped)
}

/// Whether all bytes of a text are below 0x7F, as in most JSON. Every response passes through here: without an early
/// end this becomes vector instructions. 0xFF is in no text.
fn is_plain(utf8: &[u8]) -> bool {
    utf8.iter().fold(0, |bits, byte| bits | byte.wrapping_add(1)) < 0x80
}

/// The first character from U+007F on that [`is_control`], and where it begins. Only characters with a telling byte
/// are looked at.
fn find_high_control(utf8: &[u8], from: usize) -> Option<(usize, char)> {
    const CHUNK: usize = 32;

    let mut start = from;
    for chunk in utf8.get(from..)?.chunks(CHUNK) {
        if !is_plain(chunk) {
            for (offset, _) in chunk.iter().enumerate().filter(|(_, byte)| may_be_control(**byte)) {
                if let Some(c) = high_control(utf8.get(start + offset..)?) {
                    return Some((start + offset, c));
                }
            }
        }
        start += chunk.len();
    }
    None
}

/// The character that begins here, if it is one from U+007F on that [`is_control`].
fn high_control(utf8: &[u8]) -> Option<char> {
    let bits = |byte: u8| u32::from(byte & 0x3f);
    let code = match *utf8 {
        [0x7f, ..] => 0x7f,
        [0xc2, last, ..] => 0x80 | bits(last),
        [0xd8, last, ..] => 0x600 | bits(last),
        [0xe2, middle, last, ..] => 0x2000 | bits(middle) << 6 | bits(last),
        _ => return None,
    };
    char::from_u32(code).filter(|&c| is_control(c))
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
            c if obeyed(c) => push_escape(c, &mut escaped),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// Every character that is escaped has at most four digits.
fn push_escape(c: char, to: &mut String) {
    to.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        to.extend(char::from_digit(u32::from(c) >> shift & 0xf, 16));
    }
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
        for c in '\u{7f}'..=char::MAX {
            let found = high_control(format!("{c}x").as_bytes());
            assert_eq!(found, Some(c).filter(|&c| is_control(c)), "{c:?}");
        }
    }

    #[test]
    fn json_is_escaped_at_every_place_of_a_chunk() {
        for before in 0..70 {
            for (c, escaped) in
                [('\u{7f}', "\\u007f"), ('\u{9b}', "\\u009b"), ('\u{202e}', "\\u202e")]
            {
                let text = |c: &str| format!("{}{c}°…{c}{c}", "ü".repeat(before));
                let json = text(&c.to_string());
                assert_eq!(escape_json(json), text(escaped), "{before} {c:?}");
            }
        }
        assert_eq!(escape_json("21 °C …".to_owned()), "21 °C …");
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
