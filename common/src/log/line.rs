//! One line of the log: without control characters, and bounded.

use std::borrow::Cow;

use super::queue::CHUNK;
use crate::text::{escape, may_be_control};

/// The line of an event as it is written, with its line break. What could end it early, or drive a terminal, is
/// escaped: values may come from strangers. `shorten` makes a line that is too long short enough.
pub(super) fn finish(event: &[u8], shorten: fn(&str, usize) -> String) -> Cow<'_, [u8]> {
    let is_plain = |text: &[u8]| !text.iter().any(|&byte| is_control(byte) || may_be_control(byte));
    if let Some((b'\n', line)) = event.split_last() {
        if event.len() <= CHUNK && is_plain(line) {
            return Cow::Borrowed(event);
        }
    }
    let text = String::from_utf8_lossy(event);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let mut line = escape(text).into_owned();
    if line.len() >= CHUNK {
        line = shorten(&line, CHUNK - 1);
    }
    // Whatever it made.
    line.truncate(line.floor_boundary(CHUNK - 1));
    line.push('\n');
    Cow::Owned(line.into_bytes())
}

/// Cuts a line of text, and says so.
pub fn cut(line: &str, length: usize) -> String {
    let mut kept = line[..line.floor_boundary(length.saturating_sub(32))].to_owned();
    let cut = line.len() - kept.len();
    kept.push_str(&format!("... ({cut} bytes cut)"));
    kept
}

fn is_control(byte: u8) -> bool {
    byte != b'\t' && byte.is_ascii_control()
}

trait FloorBoundary {
    /// The last boundary of a character that is not beyond `length`.
    fn floor_boundary(&self, length: usize) -> usize;
}

impl FloorBoundary for str {
    fn floor_boundary(&self, length: usize) -> usize {
        let length = length.min(self.len());
        (0..=length).rev().find(|&at| self.is_char_boundary(at)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(event: &str) -> String {
        String::from_utf8(finish(event.as_bytes(), cut).into_owned()).unwrap()
    }

    #[test]
    fn a_plain_line_is_written_as_it_is() {
        for line in ["", "a line\twith a tab", "größer", "日本"] {
            let event = format!("{line}\n");
            assert_eq!(finished(&event), event);
        }
        assert_eq!(finished("without a line break"), "without a line break\n");
    }

    #[test]
    fn what_would_end_a_line_or_drive_a_terminal_is_escaped() {
        let event = "error=a\nINFO faked\r\x1b[31m\u{9b}31m\u{7f}\u{202e}\u{2028}\n";
        assert_eq!(
            finished(event),
            "error=a\\nINFO faked\\r\\u001b[31m\\u009b31m\\u007f\\u202e\\u2028\n"
        );
    }

    #[test]
    fn a_line_has_at_most_4096_bytes_and_says_what_it_lacks() {
        assert_eq!(finished(&"x".repeat(4095)).len(), CHUNK);
        for long in ["x".repeat(4096), "ä".repeat(9999), "\n".repeat(5000)] {
            let line = finished(&long);
            assert!((4000..=CHUNK).contains(&line.len()), "{}", line.len());
            assert!(line.ends_with(" bytes cut)\n"), "{line}");
        }
        let line = finish(&[b'x'; 5000], |line, _| line.to_owned());
        assert_eq!(line.len(), CHUNK);
    }
}
