//! The head of a WebSocket frame (RFC 6455, section 5.2), as far as it is needed to know what the frame will cost.
//! tungstenite decides whether it is valid.

/// The head of a frame from a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    /// Whether the frame begins a data message, continues one, or is a control frame.
    pub(crate) kind: FrameKind,
    /// Whether it is the last frame of its message.
    pub(crate) is_final: bool,
    /// The length of the payload, in bytes.
    pub(crate) payload: u64,
    /// The length of the head itself, in bytes.
    head: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Begins,
    Continues,
    Control,
}

impl FrameHead {
    /// `None` if more bytes are needed.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let length = usize::from(second & 0x7f);
        let extended = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let head = 2 + extended + mask;
        let big_endian =
            |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        let known = bytes.get(..head)?;
        let payload = match extended {
            0 => length as u64,
            _ => big_endian(known.get(2..2 + extended)?),
        };
        let kind = match first & 0x0f {
            0 => FrameKind::Continues,
            8.. => FrameKind::Control,
            _ => FrameKind::Begins,
        };
        Some(Self { kind, is_final: first & 0x80 != 0, payload, head: head as u8 })
    }

    /// The length of the frame, in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.payload.saturating_add(self.head.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::frame;
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        for (length, head) in [(0, 6), (125, 6), (126, 8), (65_535, 8), (65_536, 14)] {
            let bytes = frame(2, &vec![0; length]);
            for known in 0..head {
                assert_eq!(FrameHead::parse(&bytes[..known]), None, "{known} of {length}");
            }
            let parsed = FrameHead::parse(&bytes[..head]).unwrap();
            assert_eq!((parsed.payload, parsed.length()), (length as u64, bytes.len() as u64));
            assert!(parsed.is_final);
        }
        let longest = [0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(FrameHead::parse(&longest).unwrap().length(), u64::MAX);
    }

    #[test]
    fn a_frame_begins_a_message_continues_one_or_is_a_control_frame() {
        for (first, kind, is_final) in [
            (0x02, FrameKind::Begins, false),
            (0x81, FrameKind::Begins, true),
            (0x00, FrameKind::Continues, false),
            (0x80, FrameKind::Continues, true),
            (0x89, FrameKind::Control, true),
        ] {
            let parsed = FrameHead::parse(&[first, 0x80, 0, 0, 0, 0]).unwrap();
            assert_eq!((parsed.kind, parsed.is_final), (kind, is_final), "{first:x}");
        }
    }
}
