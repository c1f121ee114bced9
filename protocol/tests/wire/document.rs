//! Holds `docs/protocol.md` to the code, so that neither changes without the other.

use fedecks_protocol::{
    AUTH_HEADER, CHALLENGE, CloseCode, DEFAULT_PATH, DEVICE_ID_KEY, DeviceId, Dialect, Limits,
    MAX_HEADER_CHARS, REFUSAL_HEADER, Refusal, TOKEN_KEY, Token,
};

use crate::fixtures::{self, Fixture};

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// The cells of each row of the first table below a heading, without the backticks around them.
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
    fn kinds<T>(fixtures: Vec<Fixture<T>>) -> Vec<String> {
        let mut kinds: Vec<_> =
            fixtures.iter().map(|(_, _, hex)| format!("0x{}", &hex[..2])).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }
    let first = |heading| table(heading).into_iter().map(|row| row[0].clone()).collect::<Vec<_>>();
    assert_eq!(first("### From the device to the cloud"), kinds(fixtures::up()));
    assert_eq!(first("### From the cloud to the device"), kinds(fixtures::down()));
}

#[test]
fn the_document_has_each_name_and_limit() {
    let grouped = |number: usize| {
        let digits = number.to_string();
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    };
    let limits = Limits::default();
    let rows = table("## Limits");
    let values: Vec<_> = rows.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(
        values,
        [
            format!("{} characters", grouped(MAX_HEADER_CHARS)),
            format!("1 to {} characters", DeviceId::MAX_CHARS),
            format!("1 to {} characters", grouped(Token::MAX_CHARS)),
            format!("{} bytes", grouped(limits.max_size)),
            format!("{} bytes", grouped(Limits::MAX_SIZE)),
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
