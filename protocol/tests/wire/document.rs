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
