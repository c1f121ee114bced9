//! Keys that this version does not know: those of a newer version are ignored, so that a device stays reachable after
//! a rollback; but a misspelled key that decides what the device trusts, or which device it is, is an error.

use toml::de::DeValue;

use super::raw::{KEYS, REPLACEABLE};

/// Keys that begin like this restrict what is trusted, in every version.
const RESTRICTS: &str = "only_";

/// How much of an unknown key is shown.
const SHOWN: usize = 64;

/// Why the unknown key `name` must not be ignored.
pub(super) fn why_essential(
    name: &str,
    value: &DeValue<'_>,
    is_set: impl Fn(&str) -> bool,
) -> Option<String> {
    let unset = || KEYS.iter().filter(|key| !REPLACEABLE.contains(key) && !is_set(key));
    if let Some(meant) = unset().find(|key| is_similar(name, key)) {
        return Some(format!("is {meant} meant?"));
    }
    if name.starts_with(RESTRICTS) {
        return Some("this version cannot restrict what it trusts in this way".into());
    }
    let section = value.as_table()?;
    let inside = unset().find(|&&key| section.contains_key(key))?;
    Some(format!("{inside} belongs before the first line in brackets"))
}

/// Without anything that is not text; the value may be a secret and is not shown.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}

/// Whether `name` is `key` with another case, other separators, or one or two wrong characters.
fn is_similar(name: &str, key: &str) -> bool {
    let most = if key.len() < 5 { 1 } else { 2 };
    if name.len() > key.len() + most {
        return false;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    strsim::generic_levenshtein(&name.into_bytes(), &key.as_bytes().to_vec()) <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_keys_are_recognized() {
        for (name, key, expected) in [
            ("only_ca_fil", "only_ca_file", true),
            ("Only-CA-file", "only_ca_file", true),
            ("client_crt", "client_cert", true),
            ("ca_flie", "ca_file", true),
            ("urll", "url", true),
            ("ui", "url", false),
            ("device_ids", "device_id", true),
            ("proxy", "url", false),
            ("keepalive", "ca_file", false),
        ] {
            assert_eq!(is_similar(name, key), expected, "{name}");
        }
        assert!(!is_similar(&"x".repeat(1_000_000), "url"));
    }
}
