//! Compares `docs/protocol.md` with the code, so that neither changes without the other.

use std::collections::BTreeSet;

use fedecks_protocol::{
    AUTH_HEADER, CHALLENGE, CloseCode, DEFAULT_PATH, DEVICE_ID_KEY, DeviceId, Dialect, Limits,
    MAX_HEADER_CHARS, REFUSAL_HEADER, Refusal, TOKEN_KEY, Token,
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

fn assert_documented<T>(heading: &str, fixtures: Vec<Fixture<T>>) {
    let expected: Vec<_> = fixtures
        .iter()
        .map(|(name, _, text)| vec![(*name).to_owned(), (*text).to_owned()])
        .collect();
    assert_eq!(table(heading), expected, "the table below {heading:?}");
}

#[test]
fn the_document_has_each_fixture_and_no_other() {
    assert_documented("### Terms", fixtures::terms());
    assert_documented("### Frames up", fixtures::up());
    assert_documented("### Frames down", fixtures::down());
    assert_documented("### Headers", fixtures::headers());
}

#[test]
fn the_document_has_each_refusal_and_no_other() {
    let rows: Vec<_> =
        table("## Refusals").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let expected = Refusal::ALL.map(|r| (r.status().to_string(), r.reason().to_owned()));
    assert_eq!(rows, expected);
}

#[test]
fn the_document_has_each_close_code_and_no_other() {
    let documented: Vec<_> =
        table("## Close codes").into_iter().map(|row| row[0].clone()).collect();
    let known =
        (0..=u16::MAX).filter(|code| !matches!(CloseCode::from(*code), CloseCode::Other(_)));
    let mut expected: Vec<_> = known.map(|code| code.to_string()).collect();
    expected.push("any other".into());
    assert_eq!(documented, expected);
}

#[test]
fn the_document_has_each_kind_of_frame_and_no_other() {
    fn assert_kinds<T>(heading: &str, fixtures: Vec<Fixture<T>>) {
        let documented: Vec<_> = table(heading).into_iter().map(|row| row[0].clone()).collect();
        let kinds: BTreeSet<_> = fixtures.iter().map(|it| format!("0x{}", &it.2[..2])).collect();
        assert_eq!(documented, Vec::from_iter(kinds), "the table below {heading:?}");
    }
    assert_kinds("### From the device to the cloud", fixtures::up());
    assert_kinds("### From the cloud to the device", fixtures::down());
}

#[test]
fn the_document_has_each_name_and_limit() {
    let limits = Limits::default();
    let values = table("## Limits").into_iter().map(|row| row[1].replace(',', ""));
    assert_eq!(
        values.collect::<Vec<_>>(),
        [
            format!("{MAX_HEADER_CHARS} characters"),
            format!("1 to {} characters", DeviceId::MAX_CHARS),
            format!("1 to {} characters", Token::MAX_CHARS),
            format!("{} bytes", limits.max_size),
            format!("{} bytes", Limits::MAX_SIZE),
            format!("{} levels", limits.max_depth),
            format!("{} levels", Limits::MAX_DEPTH),
        ]
    );
    let names = table("## Names");
    let names: Vec<_> = names.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(
        names,
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
