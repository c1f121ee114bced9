//! Pings, which are most of what an idle device sends. A complete and valid one is answered without a state of
//! tungstenite, which an idle connection does not have. Everything else is tungstenite's business.

use super::byte_queue::ByteQueue;
use super::frame_head::FrameHead;

/// A complete and valid ping (RFC 6455, sections 5.2 and 5.5.2).
pub(super) struct Ping<'a> {
    mask: [u8; 4],
    /// Masked.
    payload: &'a [u8],
}

/// The first byte of a ping that is not a fragment, and without bits of extensions.
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// In the second byte: the payload is masked, as a client's has to be.
const MASKED: u8 = 0x80;

/// The longest payload of a control frame.
const LONGEST: u8 = 125;

/// The length of the head, with the mask.
const HEAD: usize = 6;

impl<'a> Ping<'a> {
    /// The ping with this head at the beginning of the bytes; `None` for any other frame, or a part of one.
    pub(super) fn of(head: &FrameHead, bytes: &'a [u8], max_frame: u32) -> Option<Self> {
        let (&[first, second, one, two, three, four], rest) = bytes.split_first_chunk::<HEAD>()?;
        let length = u8::try_from(head.payload).ok().filter(|length| *length <= LONGEST)?;
        if first != PING || second != MASKED | length || u32::from(length) > max_frame {
            return None;
        }
        let payload = rest.get(..usize::from(length))?;
        Some(Self { mask: [one, two, three, four], payload })
    }

    /// The length of the frame, in bytes.
    pub(super) fn length(&self) -> usize {
        HEAD + self.payload.len()
    }

    /// Adds the pong to the output, and to how much of it answers pings.
    pub(super) fn answer(&self, output: &mut ByteQueue, pong_bytes: &mut u16) {
        let output = output.bytes();
        output.reserve(2 + self.payload.len());
        output.extend([PONG, self.payload.len() as u8]);
        output.extend(
            self.payload.iter().zip(self.mask.iter().cycle()).map(|(byte, mask)| byte ^ mask),
        );
        *pong_bytes = pong_bytes.saturating_add(2 + self.payload.len() as u16);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::frame;
    use super::*;

    fn answer(bytes: &[u8], max_frame: u32) -> Option<(usize, Vec<u8>)> {
        let ping = Ping::of(&FrameHead::parse(bytes)?, bytes, max_frame)?;
        let (mut output, mut pong_bytes) = (ByteQueue::default(), 7);
        ping.answer(&mut output, &mut pong_bytes);
        assert_eq!(usize::from(pong_bytes), 7 + output.rest().len());
        Some((ping.length(), output.rest().to_vec()))
    }

    #[test]
    fn the_payload_of_a_ping_is_unmasked_and_returned() {
        let ping =
            [0x89, 0x86, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2, b'c' ^ 3, b'd' ^ 4, b'e' ^ 1, b'f' ^ 2];
        let next = [&ping[..], &[0x82]].concat();
        assert_eq!(answer(&next, 1000), Some((12, b"\x8a\x06abcdef".to_vec())));
        for length in [0, 1, 125] {
            let payload = vec![7; length];
            let pong = [&[0x8a, length as u8], &payload[..]].concat();
            assert_eq!(answer(&frame(9, &payload), 1000), Some((6 + length, pong)));
        }
    }

    #[test]
    fn everything_else_is_left_to_tungstenite() {
        let ping = frame(9, b"ping");
        for length in 0..ping.len() {
            assert_eq!(answer(&ping[..length], 1000), None, "{length}");
        }
        for first in (0..=255).filter(|first| *first != 0x89) {
            let mut other = ping.clone();
            other[0] = first;
            assert_eq!(answer(&other, 1000), None, "{first:x}");
        }
        assert_eq!(answer(&frame(9, &[0; 126]), 1000), None);
        assert_eq!(answer(&ping, 3), None);
        // Not masked, and with bytes behind it.
        assert_eq!(answer(&[0x89, 4, 1, 2, 3, 4, 5, 6, 7, 8], 1000), None);
        // A length that is short, in the long form.
        let mut long = frame(9, &[0; 126]);
        long[3] = 4;
        assert_eq!(answer(&long, 1000), None);
    }
}
