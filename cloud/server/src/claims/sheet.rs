//! What the production line gets: the secrets of new claims as CSV, each with the text of its QR code.

use fedecks_common::utc;
use fedecks_store::NewClaim;

/// The names of the columns.
const COLUMNS: &str = "id,secret,devices,uses,expires_at,label,qr";

/// The text of the QR code with which a board, or the person who installs it, gets its claim: `FEDECKS1`, and
/// then `c=`, `d=` and `u=` with the secret, the device id or pattern and the cloud's URL, separated by semicolons.
pub(crate) fn qr_text(claim: &NewClaim, url: Option<&str>) -> String {
    let mut text = format!(
        "FEDECKS1;c={};d={}",
        claim.secret.expose(),
        without_semicolons(claim.devices.as_str())
    );
    if let Some(url) = url {
        text += ";u=";
        text += &without_semicolons(url);
    }
    text
}

/// A semicolon in an id or a URL is not a separator.
fn without_semicolons(text: &str) -> String {
    text.replace('%', "%25").replace(';', "%3B")
}

/// The sheet, with a line for each claim (RFC 4180, with LF).
pub(crate) fn csv(claims: &[NewClaim], url: Option<&str>) -> String {
    let mut text = format!("{COLUMNS}\n");
    for claim in claims {
        csv_line(
            &mut text,
            &[
                &claim.id.to_string(),
                claim.secret.expose(),
                claim.devices.as_str(),
                &claim.uses.to_string(),
                &claim.expires_at.map(utc).unwrap_or_default(),
                claim.label.as_deref().unwrap_or_default(),
                &qr_text(claim, url),
            ],
        );
    }
    text
}

/// Adds a line of these fields, quoted where they have to be.
pub(crate) fn csv_line(to: &mut String, fields: &[impl AsRef<str>]) {
    for (index, field) in fields.iter().map(AsRef::as_ref).enumerate() {
        if index > 0 {
            to.push(',');
        }
        if field.contains([',', '"', '\r', '\n']) {
            to.push('"');
            to.push_str(&field.replace('"', "\"\""));
            to.push('"');
        } else {
            to.push_str(field);
        }
    }
    to.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(devices: &str) -> NewClaim {
        NewClaim::new(devices.parse().unwrap())
    }

    #[test]
    fn the_text_of_a_code_has_the_secret_the_devices_and_the_url() {
        let claim = claim("a;b%c-*");
        let secret = claim.secret.expose();
        assert_eq!(qr_text(&claim, None), format!("FEDECKS1;c={secret};d=a%3Bb%25c-*"));
        assert_eq!(
            qr_text(&claim, Some("wss://cloud.example.com")),
            format!("FEDECKS1;c={secret};d=a%3Bb%25c-*;u=wss://cloud.example.com")
        );
    }

    #[test]
    fn a_field_with_a_comma_or_a_quote_is_quoted() {
        let label = Some("Pump, \"left\"".to_owned());
        let one = NewClaim { label, expires_at: Some(1_798_761_599), ..claim("a,b") };
        let text = csv(&[one.clone(), claim("c")], None);
        let lines: Vec<_> = text.lines().collect();
        let (id, secret) = (one.id, one.secret.expose());
        assert_eq!(lines[0], COLUMNS);
        let expected = format!(
            "{id},{secret},\"a,b\",1,2026-12-31T23:59:59Z,\"Pump, \"\"left\"\"\",\"FEDECKS1;c={secret};d=a,b\""
        );
        assert_eq!(lines[1], expected);
        assert!(lines[2].contains(",c,1,,,FEDECKS1;"), "{}", lines[2]);
        assert_eq!(lines.len(), 3);
    }
}
