//! The protocol's bytes do not change, and `docs/protocol.md` documents them.
#![expect(clippy::unwrap_used, reason = "test helpers, which clippy does not recognize as tests")]

mod document;
mod fixtures;
mod kept;
mod kept_rules;
mod requests;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::num::NonZeroU64;

use data_encoding::HEXLOWER;
use fedecks_protocol::{
    AuthRequest, Capabilities, DecodeError, DeliveryOffer, Dialect, DownFrame, InstallationId,
    Limits, MAX_HEADER_CHARS, Sequence, Term, UpFrame, Welcome,
};

use self::fixtures::Fixture;

const DIALECT: Dialect = Dialect::Bincode;

/// The fixture to which the offer can be appended.
const WITHOUT_OFFER: &str =
    "Welcome, server time 1767225600000, heartbeat 19, idle timeout 60, biggest frame 1048576";

fn limits() -> Limits {
    Limits::default()
}

/// Bytes from hexadecimal with spaces.
fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.replace(' ', "").as_bytes()).unwrap()
}

fn up(hex: &str) -> Result<UpFrame, DecodeError> {
    DIALECT.decode_up(&bytes(hex), &limits())
}

fn down(hex: &str) -> Result<DownFrame, DecodeError> {
    DIALECT.decode_down(&bytes(hex), &limits())
}

fn term(hex: &str) -> Result<Term, DecodeError> {
    DIALECT.decode_term(&bytes(hex), &limits())
}

#[test]
fn terms_have_their_frozen_bytes() {
    for (name, value, hex) in fixtures::terms() {
        assert_eq!(DIALECT.encode_term(&value, &limits()), Ok(bytes(hex)), "{name}");
        // Debug distinguishes 0.0 from -0.0.
        assert_eq!(format!("{:?}", term(hex)), format!("{:?}", Ok::<_, ()>(value)), "{name}");
    }
}

#[test]
fn frames_have_their_frozen_bytes() {
    for (name, value, hex) in fixtures::up() {
        assert_eq!(DIALECT.encode_up(&value, &limits()), Ok(bytes(hex)), "{name}");
        assert_eq!(up(hex), Ok(value), "{name}");
    }
    for (name, value, hex) in fixtures::down() {
        assert_eq!(DIALECT.encode_down(&value, &limits()), Ok(bytes(hex)), "{name}");
        assert_eq!(down(hex), Ok(value), "{name}");
    }
}

#[test]
fn headers_have_their_frozen_text() {
    for (name, value, text) in fixtures::headers() {
        assert_eq!(value.to_header(DIALECT).unwrap(), text, "{name}");
        let read = AuthRequest::from_header(text.as_bytes(), DIALECT, MAX_HEADER_CHARS);
        assert_eq!(read, Ok(value), "{name}");
    }
}

#[test]
fn every_kind_of_term_and_frame_has_a_fixture() {
    fn kinds<T>(fixtures: Vec<Fixture<T>>) -> BTreeSet<u8> {
        fixtures.iter().map(|(_, _, hex)| bytes(hex)[0]).collect()
    }
    assert_eq!(kinds(fixtures::terms()), BTreeSet::from_iter(0..=10));
    let up =
        BTreeSet::from([1, 2, 3, 4, 5, 6, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x28, 0x29]);
    let down =
        BTreeSet::from([1, 2, 4, 5, 6, 0x10, 0x11, 0x21, 0x22, 0x23, 0x24, 0x25, 0x27, 0x28, 0x29]);
    assert_eq!(kinds(fixtures::up()), up);
    assert_eq!(kinds(fixtures::down()), down);
    // And there are no others.
    assert_eq!(term("0b"), Err(DecodeError::UnknownTerm(11)));
    for kind in (0..=u8::MAX).filter(|kind| !up.contains(kind)) {
        assert_eq!(DIALECT.decode_up(&[kind], &limits()), Ok(UpFrame::Unknown { kind }));
    }
    for kind in (0..=u8::MAX).filter(|kind| !down.contains(kind)) {
        assert_eq!(DIALECT.decode_down(&[kind], &limits()), Ok(DownFrame::Unknown { kind }));
    }
}

#[test]
fn an_unknown_kind_of_frame_is_accepted_with_any_content() {
    assert_eq!(up("7f ff ff ff"), Ok(UpFrame::Unknown { kind: 0x7f }));
    assert_eq!(down("7f ff ff ff"), Ok(DownFrame::Unknown { kind: 0x7f }));
    assert_eq!(up(""), Err(DecodeError::Truncated));
    assert_eq!(down(""), Err(DecodeError::Truncated));
}

#[test]
fn only_control_frames_may_have_trailing_bytes() {
    fn check<T: Debug + PartialEq>(
        fixtures: Vec<Fixture<T>>,
        decode: fn(&str) -> Result<T, DecodeError>,
        control: &[u8],
    ) {
        for (name, value, hex) in fixtures {
            let kind = bytes(hex)[0];
            let wanted =
                if control.contains(&kind) { Ok(value) } else { Err(DecodeError::Trailing(7)) };
            // What is raw contains the rest of the bytes, and the offer is the end of a Welcome.
            let takes_the_rest = kind == 2 || name.contains("flags 3");
            if !takes_the_rest && name != WITHOUT_OFFER {
                assert_eq!(decode(&format!("{hex} 05 05 6c 61 74 65 72")), wanted, "{name}");
            }
        }
    }
    let control = [3, 4, 0x10, 0x11, 0x20, 0x21, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29];
    check(fixtures::up(), up, &control);
    check(fixtures::down(), down, &control);
    assert_eq!(term("00 00"), Err(DecodeError::Trailing(1)));
}

/// The end of a Welcome is missing in one from an older cloud, but never a part of it.
#[test]
fn an_offer_is_complete_or_missing() {
    let welcome = "10 00 13 3c 7d";
    let offer = |hex: &str| {
        let frame = down(&format!("{welcome} {hex}"))?;
        let DownFrame::Welcome(Welcome { delivery, .. }) = frame else {
            panic!("not a Welcome: {frame:?}");
        };
        Ok(delivery)
    };
    assert_eq!(offer(""), Ok(None));
    for length in 0..16 {
        assert_eq!(offer(&format!("00 {}", "ee".repeat(length))), Err(DecodeError::Truncated));
    }
    let (capabilities, installation) = (Capabilities(0), InstallationId([0xee; 16]));
    let complete = Ok(Some(DeliveryOffer { capabilities, installation }));
    assert_eq!(offer(&format!("00 {}", "ee".repeat(16))), complete);
    assert_eq!(offer(&format!("00 {} 05 05", "ee".repeat(16))), complete);
}

#[test]
fn a_raw_frame_contains_the_rest_of_the_bytes() {
    let sequence = NonZeroU64::new(251).map(Sequence);
    let hex = format!("02 fb fb 00 {}", "ff".repeat(300));
    let content = || vec![0xff; 300];
    assert_eq!(up(&hex), Ok(UpFrame::Raw { sequence, bytes: content() }));
    assert_eq!(down(&hex), Ok(DownFrame::Raw { sequence, bytes: content() }));
}

#[test]
fn an_integer_may_be_encoded_in_a_longer_form() {
    for hex in ["03 02", "03 fb 02 00", "03 fc 02 00 00 00", "03 fd 02 00 00 00 00 00 00 00"] {
        assert_eq!(term(hex), Ok(Term::Int(1)), "{hex}");
    }
    assert_eq!(term("05 fb 01 00 61"), Ok(Term::from("a")));
    assert_eq!(up("26 fc 01 00 00 00"), Ok(UpFrame::KeepAlive(1)));
}

#[test]
fn bytes_that_no_end_writes_are_refused() {
    let malformed = |why| DecodeError::Malformed(why);
    let number = Err(malformed("not an integer of this width"));
    assert_eq!(term("03 ff"), number, "255 is not a width");
    assert_eq!(term(&format!("05 fe {}", "00 ".repeat(16))), number, "a length of 128 bits");
    assert_eq!(term("05 02 c3 28"), Err(malformed("a text is not UTF-8")));
    assert_eq!(term("05 02 61"), Err(DecodeError::Truncated));
    assert_eq!(down("11 00 01 20"), Err(malformed("not a token")));
    // The largest frame has 32 bits.
    let wide = "10 00 13 3c fd 00 00 00 00 01 00 00 00";
    assert_eq!(down(wide), Err(malformed("not an integer of this width")));
}
