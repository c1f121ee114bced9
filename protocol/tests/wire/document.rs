//! Compares `docs/protocol.md` with the code, so that neither changes without the other.

use std::collections::{BTreeMap, BTreeSet};

use fedecks_protocol::{
    AUTH_HEADER, CHALLENGE, Capabilities, CloseCode, DEFAULT_PATH, DEVICE_ID_KEY, DeviceId,
    Dialect, Lane, Limits, MAX_HEADER_CHARS, NoReplyReason, REFUSAL_HEADER, Refusal, SkipReason,
    TOKEN_KEY, Token,
};

use crate::fixtures::{self, Fixture};

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// The cells of the first table below a heading, without their backticks.
fn table(heading: &str) -> Vec<Vec<String>> {
    DOCUMENT
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
        })
        .collect()
}

/// The cells of one column of that table.
fn column(heading: &str, index: usize) -> Vec<String> {
    table(heading).into_iter().map(|mut row| row.swap_remove(index)).collect()
}

#[test]
fn the_document_has_each_fixture_and_no_other() {
    fn assert_documented<T>(heading: &str, fixtures: Vec<Fixture<T>>) {
        let expected = fixtures.iter().map(|(name, _, text)| [*name, *text]);
        assert_eq!(table(heading), Vec::from_iter(expected), "the table below {heading:?}");
    }
    assert_documented("### Terms", fixtures::terms());
    assert_documented("### Frames up", fixtures::up());
    assert_documented("### Frames down", fixtures::down());
    assert_documented("### Headers", fixtures::headers());
}

#[test]
fn the_document_has_each_refusal_and_no_other() {
    assert_eq!(column("## Refusals", 0), Refusal::ALL.map(|it| it.status().to_string()));
    assert_eq!(column("## Refusals", 1), Refusal::ALL.map(Refusal::reason));
}

#[test]
fn the_document_has_each_close_code_and_no_other() {
    let known =
        (0..=u16::MAX).filter(|code| !matches!(CloseCode::from(*code), CloseCode::Other(_)));
    let mut expected: Vec<_> = known.map(|code| code.to_string()).collect();
    expected.push("any other".into());
    assert_eq!(column("## Close codes", 0), expected);
}

#[test]
fn the_document_has_each_kind_of_frame_and_no_other() {
    fn assert_kinds<T>(heading: &str, fixtures: Vec<Fixture<T>>) {
        let kinds: BTreeSet<_> = fixtures.iter().map(|it| format!("0x{}", &it.2[..2])).collect();
        assert_eq!(column(heading, 0), Vec::from_iter(kinds), "the table below {heading:?}");
    }
    assert_kinds("### From the device to the cloud", fixtures::up());
    assert_kinds("### From the cloud to the device", fixtures::down());
}

#[test]
fn the_document_has_each_capability_lane_and_reason() {
    let capabilities =
        [Capabilities::KEPT_MESSAGES, Capabilities::KEEP_ALIVE, Capabilities::REQUESTS];
    assert_eq!(column("### Capabilities", 0), capabilities.map(|it| it.0.to_string()));
    assert_eq!(Capabilities(capabilities.iter().map(|it| it.0).sum()), Capabilities::ALL);

    let lanes = (0..u64::from(u8::MAX)).filter_map(Lane::from_number);
    let lanes = lanes.map(|lane| vec![lane.number().to_string(), lane.to_string()]);
    assert_eq!(table("### Streams, numbers and tags"), Vec::from_iter(lanes));

    let reasons = (0..u64::from(u8::MAX)).map(SkipReason::from_number);
    let known = reasons.filter(|reason| !matches!(reason, SkipReason::Other(_)));
    let known = known.map(|reason| [reason.number().to_string(), reason.as_str().to_owned()]);
    let documented = table("### Skip").into_iter();
    assert_eq!(
        Vec::from_iter(documented.map(|row| [row[0].clone(), row[1].clone()])),
        Vec::from_iter(known)
    );
}

#[test]
fn the_document_has_each_reason_why_there_is_no_answer() {
    let reasons = (0..u64::from(u8::MAX)).map(NoReplyReason::from_number);
    let known = reasons.filter(|reason| !matches!(reason, NoReplyReason::Other(_)));
    let known = known.map(|reason| [reason.number().to_string(), reason.to_string()]);
    let documented = table("## Requests").into_iter();
    assert_eq!(
        Vec::from_iter(documented.map(|row| [row[0].clone(), row[1].clone()])),
        Vec::from_iter(known)
    );
}

/// Each field has its place in the list of kinds and its meaning in the section on kept messages.
#[test]
fn the_document_explains_each_field_of_a_kept_message() {
    let mut explained = BTreeMap::<_, BTreeSet<_>>::new();
    let mut frame = String::new();
    for row in table("### Fields") {
        if !row[0].is_empty() {
            frame.clone_from(&row[0]);
        }
        let fields = row[1].split(", ").map(str::to_owned);
        explained.entry(frame.clone()).or_default().extend(fields);
    }
    for heading in ["### From the device to the cloud", "### From the cloud to the device"] {
        for row in table(heading) {
            let name = row[1].split(':').next().unwrap_or_default();
            let Some(explained) = explained.get(name) else { continue };
            let fields = row[2].split(", ").filter_map(|field| {
                let name = field.strip_suffix(" u64").or(field.strip_suffix(" 16 bytes"))?;
                Some(name.strip_prefix("then as many ").unwrap_or(name).replace(" numbers", ""))
            });
            let fields = fields.filter(|field| !["handle", "count"].contains(&field.as_str()));
            assert_eq!(&BTreeSet::from_iter(fields), explained, "{name} below {heading:?}");
        }
    }
    let frames: Vec<_> = explained.keys().map(String::as_str).collect();
    assert_eq!(frames, ["Ack", "Kept", "Resume", "Rewind", "Skip"]);
}

#[test]
fn the_document_has_each_name_and_limit() {
    let limits = Limits::default();
    let values = column("## Limits", 1);
    assert_eq!(
        values.iter().map(|value| value.replace(',', "")).collect::<Vec<_>>(),
        [
            format!("{MAX_HEADER_CHARS} characters"),
            format!("1 to {} characters", DeviceId::MAX_CHARS),
            format!("1 to {} characters", Token::MAX_CHARS),
            format!("{} bytes", limits.max_size),
            format!("{} bytes", Limits::MAX_SIZE),
            format!("{} levels", limits.max_depth),
            format!("{} levels", Limits::MAX_DEPTH),
            format!("{} bytes", Limits::DEVICE_DECODED),
            format!("{} bytes", Limits::CLOUD_DECODED),
            format!("1 to {}", Limits::MAX_NUMBER),
        ]
    );
    assert_eq!(
        column("## Names", 1),
        [
            DEFAULT_PATH,
            Dialect::Bincode.subprotocol(),
            AUTH_HEADER,
            DEVICE_ID_KEY,
            TOKEN_KEY,
            REFUSAL_HEADER,
            &format!("WWW-Authenticate: {CHALLENGE}"),
        ]
    );
}
