//! `fedecks login`.

use fedecks_dbus::Dictionary;
use fedecks_protocol::Term;

use crate::arguments::Login;
use crate::failure::Failure;
use crate::prompt::{Shown, ask};
use crate::{bus, input, output};

pub(crate) async fn login(what: Login) -> Result<(), Failure> {
    // Nobody should type a password only to read then that the service is not there.
    let device = bus::device().await?;
    let credentials = if what.stdin { from_stdin().await? } else { from_terminal(what).await? };
    let credentials =
        Dictionary::new(credentials).map_err(|error| Failure::Usage(error.to_string()))?;
    let persisted = device.login(&credentials).await?;
    output::line("logged in")?;
    if !persisted {
        output::note(
            "the token is not on disk yet: a reboot before that needs a new login; see: \
             fedecks status",
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
        Err(Failure::Usage(format!("credentials are a JSON object, this is {kind}")))
    }
}

async fn from_terminal(what: Login) -> Result<Vec<(Term, Term)>, Failure> {
    let mut credentials = Vec::new();
    let username = match what.username {
        Some(username) => username,
        None => ask("username", Shown::Yes).await?,
    };
    credentials.push((Term::from("username"), Term::Str(username)));
    credentials.push((Term::from("password"), Term::Str(ask("password", Shown::No).await?)));
    let further = what.field.into_iter().map(|name| (name, Shown::Yes));
    for (name, shown) in further.chain(what.secret.into_iter().map(|name| (name, Shown::No))) {
        let value = Term::Str(ask(&name, shown).await?);
        credentials.push((Term::Str(name), value));
    }
    Ok(credentials)
}
