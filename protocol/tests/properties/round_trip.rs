use fedecks_protocol::{
    AuthRequest, DecodeError, DeliveryFrame, DownFrame, EncodeError, Kept, Limits,
    MAX_HEADER_CHARS, Tag, Term, UpFrame,
};
use proptest::prelude::*;

use crate::strategies::{
    DIALECT, WIDEST, auth_request, content, delivery, down_frame, exact, nested, term, up_frame,
};

proptest! {
    #[test]
    fn any_term_survives_the_round_trip(term in term()) {
        let bytes = DIALECT.encode_term(&term, &WIDEST).unwrap();
        prop_assert_eq!(exact(&DIALECT.decode_term(&bytes, &WIDEST).unwrap()), exact(&term));
    }

    #[test]
    fn any_frame_survives_the_round_trip(up in up_frame(), down in down_frame()) {
        let bytes = DIALECT.encode_up(&up, &WIDEST).unwrap();
        prop_assert_eq!(exact_up(DIALECT.decode_up(&bytes, &WIDEST).unwrap()), exact_up(up));
        let bytes = DIALECT.encode_down(&down, &WIDEST).unwrap();
        prop_assert_eq!(exact_down(DIALECT.decode_down(&bytes, &WIDEST).unwrap()), exact_down(down));
    }

    #[test]
    fn a_frame_about_kept_messages_has_the_same_bytes_both_ways(frame in delivery()) {
        let up = DIALECT.encode_up(&UpFrame::Delivery(frame.clone()), &WIDEST).unwrap();
        let down_frame = DownFrame::Delivery(frame);
        let down = DIALECT.encode_down(&down_frame, &WIDEST);
        prop_assert_eq!(down.as_ref(), Ok(&up));
        prop_assert_eq!(DIALECT.decode_down(&up, &WIDEST), Ok(down_frame));
    }

    #[test]
    fn a_term_is_kept_as_it_is_encoded(term in term(), less in 0_usize..3) {
        let bytes = DIALECT.encode_term(&term, &WIDEST).unwrap();
        let (max_size, max_decoded) = (bytes.len() - less.min(1), term.weight());
        let light = Limits { max_decoded: max_decoded - less / 2, ..WIDEST };
        for limits in [Limits { max_size, max_decoded, ..WIDEST }, light, Limits::default()] {
            match DIALECT.encode_term(&term, &limits) {
                Ok(bytes) => {
                    let kept = DIALECT.keep_term(&term, &limits).unwrap();
                    prop_assert_eq!(kept.as_bytes(), &bytes[..]);
                    prop_assert_eq!((kept.size(), kept.weight()), (bytes.len(), term.weight()));
                    prop_assert_eq!(exact(&kept.decode().unwrap()), exact(&term));
                    prop_assert_eq!(DIALECT.check_term(&bytes, &limits), Ok(kept));
                }
                Err(error) => {
                    prop_assert_eq!(DIALECT.keep_term(&term, &limits), Err(error));
                    prop_assert!(DIALECT.check_term(&bytes, &limits).is_err());
                }
            }
        }
    }

    /// What an end may send, the other one decodes: both count alike.
    #[test]
    fn the_weight_limit_of_a_kept_message_is_exact(content in content()) {
        let weight = content.weight();
        let exact = Limits { max_decoded: weight, ..WIDEST };
        let (handle, sequence, tag, sent_at_ms, redelivered) = (1, 1, Tag(1), None, false);
        let kept = Kept { handle, sequence, tag, sent_at_ms, redelivered, content };
        let frame = UpFrame::Delivery(DeliveryFrame::Kept(kept));
        let bytes = DIALECT.encode_up(&frame, &exact).unwrap();
        prop_assert_eq!(DIALECT.decode_up(&bytes, &exact), Ok(frame.clone()));
        if let Some(limit) = weight.checked_sub(1) {
            let less = Limits { max_decoded: limit, ..WIDEST };
            let error = DIALECT.encode_up(&frame, &less);
            prop_assert_eq!(error, Err(EncodeError::TooHeavy { weight, limit }));
            let error = DIALECT.decode_up(&bytes, &less).unwrap_err();
            let is_exact = matches!(error, DecodeError::TooHeavy { limit: found, .. } if found == limit);
            prop_assert!(is_exact, "{:?}", error);
        }
    }

    #[test]
    fn any_auth_request_survives_the_round_trip(request in auth_request()) {
        let header = request.to_header(DIALECT).unwrap();
        prop_assert!(header.len() <= MAX_HEADER_CHARS);
        prop_assert_eq!(
            AuthRequest::from_header(header.as_bytes(), DIALECT, MAX_HEADER_CHARS),
            Ok(request)
        );
    }

    #[test]
    fn a_size_limit_is_exact(term in term()) {
        let bytes = DIALECT.encode_term(&term, &WIDEST).unwrap();
        let (size, limit) = (bytes.len(), bytes.len() - 1);
        let fits = Limits { max_size: size, ..WIDEST };
        let small = Limits { max_size: limit, ..WIDEST };
        prop_assert_eq!(DIALECT.encode_term(&term, &fits), Ok(bytes.clone()));
        prop_assert!(DIALECT.decode_term(&bytes, &fits).is_ok());
        prop_assert_eq!(
            DIALECT.encode_term(&term, &small),
            Err(EncodeError::TooBig { size, limit })
        );
        let error = DIALECT.decode_term(&bytes, &small).unwrap_err();
        prop_assert_eq!(error, DecodeError::TooBig { size, limit });
    }

    #[test]
    fn a_depth_limit_is_exact(limit in 1..=Limits::MAX_DEPTH) {
        let limits = Limits { max_depth: limit, ..WIDEST };
        let deepest = nested(usize::from(limit) - 1, Term::Bool(true));
        let bytes = DIALECT.encode_term(&deepest, &limits).unwrap();
        prop_assert_eq!(DIALECT.decode_term(&bytes, &limits), Ok(deepest.clone()));

        let shallower = Limits { max_depth: limit - 1, ..WIDEST };
        prop_assert_eq!(
            DIALECT.encode_term(&deepest, &shallower),
            Err(EncodeError::TooDeep { limit: limit - 1 })
        );
        prop_assert_eq!(
            DIALECT.decode_term(&bytes, &shallower),
            Err(DecodeError::TooDeep { limit: limit - 1 })
        );
    }
}

#[test]
fn no_configured_depth_exceeds_the_maximum() {
    let boundless = Limits { max_depth: u16::MAX, ..WIDEST };
    let limit = Limits::MAX_DEPTH;
    let too_deep = nested(usize::from(limit), Term::Nil);
    assert_eq!(DIALECT.encode_term(&too_deep, &boundless), Err(EncodeError::TooDeep { limit }));
    // 128 lists of one item, then nil.
    let bytes = [[8, 1].repeat(usize::from(limit)), vec![0]].concat();
    assert_eq!(DIALECT.decode_term(&bytes, &boundless), Err(DecodeError::TooDeep { limit }));
    assert!(DIALECT.decode_term(&bytes[2..], &boundless).is_ok());
}

#[test]
fn no_configured_size_exceeds_the_maximum() {
    let boundless = Limits { max_size: usize::MAX, ..WIDEST };
    let limit = Limits::MAX_SIZE;
    // A kind byte and a sequence number of one byte precede the bytes.
    let raw = |size: usize| UpFrame::Raw { sequence: None, bytes: vec![0; size - 2] };
    let biggest = DIALECT.encode_up(&raw(limit), &boundless).unwrap();
    assert!(DIALECT.decode_up(&biggest, &boundless).is_ok());
    assert_eq!(
        DIALECT.encode_up(&raw(limit + 1), &boundless),
        Err(EncodeError::TooBig { size: limit + 1, limit })
    );
    let beyond = [&biggest[..], &[0]].concat();
    assert_eq!(
        DIALECT.decode_up(&beyond, &boundless),
        Err(DecodeError::TooBig { size: limit + 1, limit })
    );
}

/// bincode counts 17 bytes for each of these integers although they take 2.
#[test]
fn a_long_list_of_small_integers_is_decoded() {
    let count = 4 * 1024 * 1024;
    let bytes = [&[8, 252], &4_194_304_u32.to_le_bytes()[..], &[3, 0].repeat(count)].concat();
    assert!(DIALECT.decode_term(&bytes, &WIDEST) == Ok(Term::List(vec![Term::Int(0); count])));
}

#[test]
fn a_frame_of_an_unknown_kind_cannot_be_encoded() {
    let up = UpFrame::Unknown { kind: 0x7f };
    assert_eq!(DIALECT.encode_up(&up, &WIDEST), Err(EncodeError::UnknownFrame));
    let down = DownFrame::Unknown { kind: 0x7f };
    assert_eq!(DIALECT.encode_down(&down, &WIDEST), Err(EncodeError::UnknownFrame));
}

fn exact_up(mut frame: UpFrame) -> UpFrame {
    if let UpFrame::Message { term, .. } = &mut frame {
        *term = exact(term);
    }
    frame
}

fn exact_down(mut frame: DownFrame) -> DownFrame {
    if let DownFrame::Message { term, .. } = &mut frame {
        *term = exact(term);
    }
    frame
}
