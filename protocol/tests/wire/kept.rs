//! The frozen bytes of the frames about kept messages.

use fedecks_protocol::{
    Ack, Content, DeliveryFrame, Kept, Lane, Limits, Resume, Skip, SkipReason, StreamId, Tag, Term,
};

use crate::DIALECT;
use crate::fixtures::Fixture;

/// Those from the device.
pub(crate) fn up() -> Vec<Fixture<DeliveryFrame>> {
    vec![
        (
            "Resume 1, lane 0, stream 000102030405060708090a0b0c0d0e0f, oldest 7, newest 300",
            resume(1, Lane::Normal, StreamId(counting_from(0)), (7, 300)),
            "21 01 00 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 07 fb 2c 01",
        ),
        (
            r#"Kept 1, sequence 7, tag 0123456789abcdef, sent at 1767225600000, flags 0, map {"t": 21.5}"#,
            DeliveryFrame::Kept(Kept {
                handle: 1,
                sequence: 7,
                tag: Tag(0x0123_4567_89ab_cdef),
                sent_at_ms: Some(1_767_225_600_000),
                redelivered: false,
                content: term(&Term::Map(vec![(Term::from("t"), Term::Float(21.5))])),
            }),
            "22 01 07 fd ef cd ab 89 67 45 23 01 fd 00 a8 da 76 9b 01 00 00 00 0a 01 05 01 74 04 00 00 00 00 00 80 35 40",
        ),
        (
            "Kept 2, sequence 1, tag fedcba9876543210, sent at 0, flags 3, bytes de ad be ef",
            DeliveryFrame::Kept(Kept {
                handle: 2,
                sequence: 1,
                tag: Tag(0xfedc_ba98_7654_3210),
                sent_at_ms: None,
                redelivered: true,
                content: Content::Raw(vec![0xde, 0xad, 0xbe, 0xef]),
            }),
            "22 02 01 fd 10 32 54 76 98 ba dc fe 00 03 de ad be ef",
        ),
        (
            "Skip 1, from 8 to 300, reason 1",
            skip(1, (8, 300), SkipReason::Expired),
            "23 01 08 fb 2c 01 01",
        ),
        ("Close 1", DeliveryFrame::Close { handle: 1 }, "24 01"),
        (
            "Ack 3, up to 0, tag 0, credit to 64 and 262144 bytes, none rejected",
            ack(3, (0, 0), (64, 262_144), &[]),
            "04 03 00 00 40 fc 00 00 04 00 00",
        ),
        ("Rewind 3 to 12", DeliveryFrame::Rewind { handle: 3, to: 12 }, "25 03 0c"),
    ]
}

/// Those from the cloud.
pub(crate) fn down() -> Vec<Fixture<DeliveryFrame>> {
    vec![
        (
            "Resume 300, lane 1, stream f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff, oldest 1, newest 0",
            resume(300, Lane::Urgent, StreamId(counting_from(0xf0)), (1, 0)),
            "21 fb 2c 01 01 f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 fa fb fc fd fe ff 01 00",
        ),
        (
            r#"Kept 300, sequence 1, tag 0000000000000001, sent at 0, flags 0, atom "reboot""#,
            DeliveryFrame::Kept(Kept {
                handle: 300,
                sequence: 1,
                tag: Tag(1),
                sent_at_ms: None,
                redelivered: false,
                content: term(&Term::Atom("reboot".into())),
            }),
            "22 fb 2c 01 01 01 00 00 07 06 72 65 62 6f 6f 74",
        ),
        (
            "Kept 300, sequence 65536, tag ffffffffffffffff, sent at 1767225600001, flags 1, nil",
            DeliveryFrame::Kept(Kept {
                handle: 300,
                sequence: 65_536,
                tag: Tag(u64::MAX),
                sent_at_ms: Some(1_767_225_600_001),
                redelivered: true,
                content: term(&Term::Nil),
            }),
            "22 fb 2c 01 fc 00 00 01 00 fd ff ff ff ff ff ff ff ff fd 01 a8 da 76 9b 01 00 00 01 00",
        ),
        (
            "Skip 300, from 2 to 2, reason 3",
            skip(300, (2, 2), SkipReason::Replaced),
            "23 fb 2c 01 02 02 03",
        ),
        ("Close 300", DeliveryFrame::Close { handle: 300 }, "24 fb 2c 01"),
        (
            "Ack 1, up to 300, tag 0123456789abcdef, credit to 364 and 262144 bytes, 9 and 300 rejected",
            ack(1, (300, 0x0123_4567_89ab_cdef), (364, 262_144), &[9, 300]),
            "04 01 fb 2c 01 fd ef cd ab 89 67 45 23 01 fb 6c 01 fc 00 00 04 00 02 09 fb 2c 01",
        ),
        ("Rewind 1 to 6", DeliveryFrame::Rewind { handle: 1, to: 6 }, "25 01 06"),
    ]
}

fn resume(
    handle: u64,
    lane: Lane,
    stream: StreamId,
    (oldest, newest): (u64, u64),
) -> DeliveryFrame {
    DeliveryFrame::Resume(Resume { handle, lane, stream, oldest, newest })
}

fn skip(handle: u64, (from, to): (u64, u64), reason: SkipReason) -> DeliveryFrame {
    DeliveryFrame::Skip(Skip { handle, from, to, reason })
}

fn ack(
    handle: u64,
    (up_to, tag): (u64, u64),
    (credit_to, credit_bytes): (u64, u64),
    rejected: &[u64],
) -> DeliveryFrame {
    let (tag, rejected) = (Tag(tag), rejected.to_vec());
    DeliveryFrame::Ack(Ack { handle, up_to, tag, credit_to, credit_bytes, rejected })
}

fn term(term: &Term) -> Content {
    Content::Term(DIALECT.keep_term(term, &Limits::default()).unwrap())
}

/// Each byte one more than the one before.
pub(crate) fn counting_from(first: u8) -> [u8; 16] {
    std::array::from_fn(|index| first + u8::try_from(index).unwrap())
}
