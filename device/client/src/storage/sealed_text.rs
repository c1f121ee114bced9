//! The format of a stored file: a line with its kind, lines of text, a line with their checksum.

/// `body`, lines of text, with its kind and checksum.
pub(super) fn seal(kind: &str, body: &str) -> String {
    let text = kind_line(kind) + body;
    let checksum = checksum_line(&text);
    text + &checksum
}

/// The body of a text that [`seal`] has returned for this kind.
pub(super) fn unseal<'a>(kind: &str, text: &'a str) -> Option<&'a str> {
    let without_end = text.strip_suffix('\n')?;
    let (sealed, checksum) = text.split_at_checked(without_end.rfind('\n')? + 1)?;
    if checksum != checksum_line(sealed) {
        return None;
    }
    sealed.strip_prefix(&kind_line(kind))
}

fn kind_line(kind: &str) -> String {
    format!("fedecks {kind} 1\n")
}

fn checksum_line(text: &str) -> String {
    format!("crc32 {:08x}\n", crc32(text.as_bytes()))
}

/// The CRC-32 of Ethernet and zlib, bit by bit: the files are small, and the tables of a faster
/// implementation would take 16 KB of an image.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        let shifted = |crc: u32, _| crc >> 1 ^ (crc & 1).wrapping_neg() & 0xedb8_8320;
        (0..8).fold(crc ^ u32::from(*byte), shifted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_standard_crc_32() {
        assert_eq!(crc32(b""), 0);
        // The check value in catalogues of checksums.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
