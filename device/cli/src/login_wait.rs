//! A login that waits for someone in the cloud: why, and how it ends.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use fedecks_dbus::Device1Proxy;
use fedecks_protocol::Term;
use tokio::time::sleep;

use crate::failure::Failure;
use crate::summary::{number, plain};
use crate::{output, refusal};

/// How often the service is asked for the reason.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is known about a login, from the health of the device.
#[derive(Debug, PartialEq)]
enum Progress {
    /// Nothing, or the cloud cannot be reached.
    Unknown,
    /// It waits, for this reason.
    Waits(String),
    /// It has succeeded. The token is on disk, or is not.
    Accepted { persisted: bool },
    /// It has failed, for this reason.
    Failed(String),
}

/// Watches a login that has begun.
pub(crate) struct Wait<'a> {
    device: &'a Device1Proxy<'static>,
    begun: Instant,
    /// The last reason on the terminal.
    told: String,
}

impl<'a> Wait<'a> {
    pub(crate) fn new(device: &'a Device1Proxy<'static>, begun: Instant) -> Self {
        Self { device, begun, told: String::new() }
    }

    /// Tells why the login waits, whenever that changes. Ends when the service cannot be asked any longer.
    pub(crate) async fn tell(&mut self) {
        loop {
            sleep(INTERVAL).await;
            match self.progress().await {
                Ok(Progress::Waits(reason)) => self.tell_once(reason),
                Ok(_) => {}
                // The call of the login ends with the error.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// After no answer within the time of a call, with this problem: on a terminal, waits on as long as the reason is
    /// someone in the cloud. Returns whether the token is on disk.
    pub(crate) async fn longer(&mut self, problem: String) -> Result<bool, Failure> {
        let waits = matches!(self.progress().await?, Progress::Waits(_));
        if !waits || !io::stderr().is_terminal() {
            return Err(Failure::Unreachable(problem));
        }
        output::note("still waiting; Ctrl-C ends this command and leaves the login to the service");
        loop {
            match self.progress().await? {
                Progress::Waits(reason) => self.tell_once(reason),
                Progress::Unknown => {}
                Progress::Accepted { persisted } => return Ok(persisted),
                Progress::Failed(reason) => return Err(Failure::Rejected(reason)),
            }
            sleep(INTERVAL).await;
        }
    }

    fn tell_once(&mut self, reason: String) {
        if self.told != reason {
            output::note(format!("waiting: {reason}"));
            self.told = reason;
        }
    }

    async fn progress(&self) -> Result<Progress, Failure> {
        let health = self.device.get_health().await?.into_term();
        Ok(progress(&health, self.begun.elapsed().as_secs()))
    }
}

/// The progress of a login that began this long ago, in seconds.
fn progress(health: &Term, elapsed: u64) -> Progress {
    let id = health.get("device_id").and_then(plain).unwrap_or_default();
    let state = health.get("state").and_then(plain).unwrap_or_default();
    let age = |key: &str| number(health.get(key)?.get("ago_s")?);
    let refusal =
        refusal::last(health).filter(|_| age("last_refusal").is_some_and(|ago| ago <= elapsed));
    if let Some(refusal) = refusal.filter(|refusal| !matches!(refusal.status(), 429 | 503)) {
        return Progress::Failed(format!("the cloud refused the login: {}", refusal.explain(&id)));
    }
    match (state.as_str(), refusal) {
        ("connected", _) => {
            let stored = health.get("token").and_then(|token| token.get("is_stored"));
            Progress::Accepted { persisted: stored == Some(&Term::Bool(true)) }
        }
        ("unregistered" | "late" | "closed", _) => {
            Progress::Failed("the login was cancelled".to_owned())
        }
        // The last thing that has failed, and not something before it.
        (_, Some(refusal)) if refusal.waits() && age("last_refusal") == age("last_failure") => {
            Progress::Waits(refusal.explain(&id))
        }
        _ => Progress::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_says_how_far_a_login_is() {
        let progress = |state: &str, refused: &str, ago: u64, failed: u64| {
            let health = format!(
                r#"{{"device_id":"d","state":"{state}","token":{{"is_stored":true}},
                "last_refusal":{{"ago_s":{ago},"reason":"{refused}"}},
                "last_failure":{{"ago_s":{failed},"reason":"x"}}}}"#
            );
            let health = serde_json::from_str::<fedecks_protocol::JsonTerm>(&health).unwrap().0;
            progress(&health, 30)
        };
        let approve =
            "an operator has to approve this device; in the cloud: fedecks-cloud device approve d";
        let revoked = "the cloud refused the login: the claim was revoked: ask for a new one";
        let accepted = Progress::Accepted { persisted: true };
        for (state, refused, ago, failed, expected) in [
            ("waiting", "approval-pending", 2, 2, Progress::Waits(approve.to_owned())),
            ("dialing", "approval-pending", 2, 2, Progress::Waits(approve.to_owned())),
            // The cloud cannot be reached any more.
            ("waiting", "approval-pending", 20, 2, Progress::Unknown),
            // From before the login.
            ("waiting", "claim-revoked", 31, 31, Progress::Unknown),
            ("waiting", "unavailable", 2, 2, Progress::Unknown),
            ("connected", "approval-pending", 9, 9, accepted),
            ("unregistered", "claim-revoked", 1, 1, Progress::Failed(revoked.to_owned())),
            // By the token that it had.
            ("connected", "claim-revoked", 1, 1, Progress::Failed(revoked.to_owned())),
            (
                "unregistered",
                "in-use",
                9,
                9,
                Progress::Failed("the login was cancelled".to_owned()),
            ),
            ("waiting", "from-the-future", 1, 1, Progress::Unknown),
        ] {
            assert_eq!(progress(state, refused, ago, failed), expected, "{state} {refused}");
        }
    }
}
