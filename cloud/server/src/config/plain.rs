//! What serde says about a value, in the words of the configuration. Its own are those of Rust's types.

/// A problem, and the key that it names, if it does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) key: Option<String>,
    pub(super) text: String,
}

/// Puts a message of serde, or of a section's own check, into the words of the configuration.
pub(super) fn problem(message: &str) -> Problem {
    let message = message.trim().replace('\n', ", ");
    if let Some((key, expected)) = parts(&message, "unknown field ") {
        let text = format!("unknown key, expected {expected}");
        return Problem { key: Some(key), text };
    }
    let text = mismatch(&message)
        .or_else(|| {
            let (value, expected) = parts(&message, "unknown variant ")?;
            Some(format!("{value:?} must be {expected}"))
        })
        .or_else(|| {
            let key = message.strip_prefix("missing field `")?.strip_suffix('`')?;
            Some(format!("{key} is missing"))
        });
    Problem { key: None, text: text.unwrap_or(message) }
}

/// What the parser says about text that is not TOML.
pub(super) fn syntax(message: &str) -> String {
    let message = message.trim().replace('\n', ", ");
    match message.strip_suffix(", expected nothing") {
        // What begins like a number, a date or a boolean, but is not one.
        Some(kind) => format!("{kind}; text must be in quotes"),
        None => message,
    }
}

/// The name and the alternatives of "unknown ... `name`, expected one of `this`, `that`".
fn parts(message: &str, beginning: &str) -> Option<(String, String)> {
    let (name, expected) = message.strip_prefix(beginning)?.rsplit_once(", expected ")?;
    Some((name.trim_matches('`').to_owned(), expected.replace('`', "")))
}

/// The sentence for "invalid type: ..., expected ...".
fn mismatch(message: &str) -> Option<String> {
    let rest = message.strip_prefix("invalid type: ");
    let rest = rest.or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    if (found, expected) == ("map", "a sequence") {
        return Some(
            "must be in double brackets, such as [[listener]], as it can be repeated".into(),
        );
    }
    let expected = match expected {
        "a string" | "path string" => "a string in quotes",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "a map" => "a section",
        _ if expected.starts_with("struct ") => "a section",
        _ => expected,
    };
    let found = match found {
        "map" => "a section",
        "sequence" => "a list",
        // Which may be a secret in the wrong place.
        _ if found.starts_with("string ") => "a string in quotes",
        _ => {
            let value = ["integer ", "boolean ", "floating point "];
            let value = value.iter().find_map(|kind| found.strip_prefix(kind)).unwrap_or(found);
            value.trim_matches('`')
        }
    };
    Some(format!("must be {expected}, not {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_serde_are_in_the_words_of_the_file() {
        for (message, text) in [
            (
                "invalid type: integer `7`, expected path string",
                "must be a string in quotes, not 7",
            ),
            ("invalid type: sequence, expected a string", "must be a string in quotes, not a list"),
            (
                "invalid type: string \"a, b\", expected a sequence",
                "must be a list, not a string in quotes",
            ),
            ("invalid type: boolean `true`, expected struct Tls", "must be a section, not true"),
            (
                "invalid type: floating point `1.5`, expected a boolean",
                "must be true or false, not 1.5",
            ),
            ("unknown variant `xml`, expected `text` or `json`", "\"xml\" must be text or json"),
            ("missing field `address`", "address is missing"),
            ("must be longer than 0s", "must be longer than 0s"),
        ] {
            assert_eq!(problem(message), Problem { key: None, text: text.into() });
        }
        let unknown = problem("unknown field `x`, expected one of `a`, `b`");
        let text = "unknown key, expected one of a, b".into();
        assert_eq!(unknown, Problem { key: Some("x".into()), text });
    }
}
