//! `fedecks login`: logs the device in, with credentials from prompts or standard input.

use fedecks_dbus::Dictionary;
use fedecks_protocol::Term;

use crate::arguments::Login;
use crate::failure::Failure;
use crate::prompt::{Echo, prompt};
use crate::{bus, input, output};

pub(crate) async fn login(arguments: Login) -> Result<(), Failure> {
    // Fail before asking for a password if the service is not available.
    let device = bus::device().await?;
    let credentials =
        if arguments.stdin { from_stdin().await? } else { from_terminal(arguments).await? };
    let credentials =
        Dictionary::new(credentials).map_err(|error| Failure::Usage(error.to_string()))?;
    let persisted = device.login(&credentials).await?;
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

async fn from_terminal(arguments: Login) -> Result<Vec<(Term, Term)>, Failure> {
    let mut credentials = Vec::new();
    if let Some(username) = arguments.username {
        credentials.push((Term::from("username"), Term::Str(username)));
    } else {
        credentials.push(ask("username", Echo::On).await?);
    }
    credentials.push(ask("password", Echo::Off).await?);
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
