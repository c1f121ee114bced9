//! `fedecks login`: logs the device in, with credentials from prompts, a file or standard input.

use std::path::Path;
use std::time::Instant;

use fedecks_dbus::{Device1Error, Dictionary};
use fedecks_protocol::{CLAIM_KEY, CLAIM_PREFIX, Term};

use crate::arguments::Login;
use crate::failure::Failure;
use crate::login_wait::Wait;
use crate::prompt::{Echo, prompt};
use crate::{bus, input, output};

pub(crate) async fn login(arguments: Login) -> Result<(), Failure> {
    // Fail before asking for a password if the service is not available.
    let device = bus::device().await?;
    let credentials =
        if arguments.stdin { from_stdin().await? } else { from_options(arguments).await? };
    let credentials =
        Dictionary::new(credentials).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut wait = Wait::new(&device, Instant::now());
    let answer = tokio::select! {
        answer = device.login(&credentials) => answer,
        () = wait.tell() => return Err(bus::gone()),
    };
    let persisted = match answer {
        Err(Device1Error::Unreachable(problem)) => wait.longer(problem).await?,
        answer => answer?,
    };
    output::line("logged in")?;
    if !persisted {
        output::note(
            "the token is not stored yet, a reboot would require a new login; see: fedecks status",
        );
    }
    Ok(())
}

async fn from_stdin() -> Result<Vec<(Term, Term)>, Failure> {
    let term = input::json(&input::stdin().await?, "standard input")?;
    let kind = term.kind();
    if let Term::Map(entries) = term {
        Ok(entries)
    } else {
        Err(Failure::Usage(format!("credentials must be a JSON object, not {kind}")))
    }
}

async fn from_options(arguments: Login) -> Result<Vec<(Term, Term)>, Failure> {
    let mut credentials = Vec::new();
    let text = match (arguments.claim, arguments.claim_file) {
        (Some(None), _) => Some(prompt(CLAIM_KEY, Echo::Off).await?.into_bytes()),
        (Some(Some(_)), _) => Some(input::file(Path::new("-")).await?),
        (None, Some(file)) => Some(input::file(&file).await?),
        (None, None) => None,
    };
    if let Some(text) = text {
        let claim = claim_in(&text).ok_or_else(|| {
            Failure::Usage(format!("a claim begins with {CLAIM_PREFIX}; this is something else"))
        })?;
        credentials.push((Term::from(CLAIM_KEY), Term::from(claim)));
    } else {
        if let Some(username) = arguments.username {
            credentials.push((Term::from("username"), Term::Str(username)));
        } else {
            credentials.push(ask("username", Echo::On).await?);
        }
        credentials.push(ask("password", Echo::Off).await?);
    }
    for name in &arguments.field {
        credentials.push(ask(name, Echo::On).await?);
    }
    for name in &arguments.secret {
        credentials.push(ask(name, Echo::Off).await?);
    }
    Ok(credentials)
}

async fn ask(name: &str, echo: Echo) -> Result<(Term, Term), Failure> {
    Ok((Term::from(name), Term::Str(prompt(name, echo).await?)))
}

/// The claim in what was typed, scanned or read.
fn claim_in(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let claim = match text.strip_prefix("FEDECKS1;") {
        Some(fields) => fields.split(';').find_map(|field| field.strip_prefix("c="))?,
        None => text,
    };
    claim.starts_with(CLAIM_PREFIX).then_some(claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_found_in_its_text_and_in_that_of_its_code() {
        for text in [
            "fdc_ab",
            " fdc_ab\r\n",
            "FEDECKS1;c=fdc_ab;d=kitchen-1;u=wss://c",
            "FEDECKS1;d=*;c=fdc_ab",
        ] {
            assert_eq!(claim_in(text.as_bytes()), Some("fdc_ab"), "{text}");
        }
        for text in ["", "ab", "FEDECKS1;d=fdc_ab", "FEDECKS2;c=fdc_ab", "claim = \"fdc_ab\""] {
            assert_eq!(claim_in(text.as_bytes()), None, "{text}");
        }
        assert_eq!(claim_in(b"fdc_\xff"), None);
    }
}
