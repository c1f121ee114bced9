//! Provisioning: the first login without a user, with credentials from a file or from systemd that are used
//! once.
//!
//! The record on disk is written before the login begins, and the credentials are removed after the token is
//! on disk. So after a power cut at any moment, the next start knows whether the login succeeded.

mod certificate;
mod login;
mod provisioner;
mod record;
mod removal;
mod source;
mod status;

use std::path::Path;
use std::time::Duration;

use fedecks_device::{Client, Status};
use fedecks_device_core::{GiveUp, LoggedIn, LoginError, Stored};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use crate::blocking::blocking;
use crate::login_error::explain;
use crate::mounts::Mounts;
use certificate::CertificateLogin;
use login::{Retry, log_in, may_be_accepted_later};
pub(crate) use provisioner::Provisioner;
use provisioner::{Attempt, Next};
use source::{ReadResult, Source};
pub(crate) use status::ProvisioningStatus;
use status::SourceKind;

/// Without a token that the cloud accepts the sources are read again after the first wait, then after twice as long, up to the
/// longest one: the partition with the file may be mounted late.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// One mount often changes the mount table several times.
const SETTLE: Duration = Duration::from_millis(500);

/// How long after the start a missing data directory is waited for: it may have a token, and the record of
/// used credentials.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the credentials in the file cannot be used, if there is one.
pub(crate) fn file_problem(file: &Path) -> Option<String> {
    match (Source { kind: SourceKind::File, path: file.to_owned() }).read() {
        ReadResult::Unusable(problem) => Some(problem),
        ReadResult::Absent | ReadResult::Content(_) => None,
    }
}

/// Reads the sources and logs in with their credentials, until the client ends. While there is a token that is
/// not late, it reads them at the start and when a file system is mounted, and does not wake up otherwise.
pub(crate) async fn run(client: Client, provisioner: Provisioner) {
    run_with(client, provisioner, Retry::default()).await;
}

/// The same with this wait before what was put off until later is tried again.
async fn run_with(client: Client, mut provisioner: Provisioner, mut retry: Retry) {
    let by_certificate = provisioner.certificate().cloned().map(CertificateLogin::new);
    let mut status = client.watch_status();
    let mounts = Mounts::watch();
    let start = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        let without_record = start.elapsed() >= RECORD_TIMEOUT;
        if retry.is_due() {
            provisioner.try_again();
        }
        let next;
        (provisioner, next) = on_disk(provisioner, move |it| it.next(without_record)).await;
        match next {
            Next::LogIn(attempt, credentials) => {
                let begun = attempt.clone();
                (provisioner, ()) = on_disk(provisioner, move |it| it.begin(&begun)).await;
                let source = attempt.source();
                let answer =
                    log_in(&client, credentials, |reason| provisioner.waits(source, reason)).await;
                match finish(&client, provisioner, attempt, answer, &mut status, &mut retry).await {
                    // If these credentials were rejected, there may be another source.
                    Some(back) => provisioner = back,
                    None => return,
                }
                wait = FIRST_WAIT;
                continue;
            }
            Next::Nothing if client.status().needs_login() && retry.is_due() => {
                if let Some(login) = &by_certificate {
                    login.log_in(&client, &provisioner, &mut retry).await;
                }
            }
            Next::Nothing => {}
            Next::NoRecord(error) if wait == FIRST_WAIT => {
                warn!(%error, "cannot read the record of used provisioning credentials yet");
            }
            Next::NoRecord(_) => {}
        }
        if next_check(&mut status, &mounts, Instant::now() + wait).await.is_none() {
            return;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Waits for a change of the mount table, or until `due` and until there is no token or a late one. `None` if
/// the client has ended.
async fn next_check(
    status: &mut watch::Receiver<Status>,
    mounts: &Mounts,
    due: Instant,
) -> Option<()> {
    loop {
        let needs_login = status.borrow_and_update().needs_login();
        tokio::select! {
            changed = status.changed() => changed.ok()?,
            () = sleep_until(due), if needs_login => return Some(()),
            () = mounts.changed() => {
                sleep(SETTLE).await;
                return Some(());
            }
        }
    }
}

/// Handles the result of the login. `None` if the client has ended.
async fn finish(
    client: &Client,
    mut provisioner: Provisioner,
    attempt: Attempt,
    answer: Result<LoggedIn, LoginError>,
    status: &mut watch::Receiver<Status>,
    retry: &mut Retry,
) -> Option<Provisioner> {
    let reason = match answer {
        Ok(LoggedIn { persisted: true, .. }) => {
            return Some(on_disk(provisioner, move |it| it.used(&attempt)).await.0);
        }
        Ok(LoggedIn { persisted: false, .. }) => {
            let pending = attempt.clone();
            (provisioner, ()) = on_disk(provisioner, move |it| it.unstored(&pending)).await;
            if token_on_disk(status).await {
                return Some(on_disk(provisioner, move |it| it.used(&attempt)).await.0);
            }
            GiveUp::Logout.to_string()
        }
        // The credentials are fine.
        Err(LoginError::Rejected(refusal)) if may_be_accepted_later(refusal) => {
            let reason = refusal.explain(client.device_id().as_str());
            let put_off = move |it: &mut Provisioner| it.put_off_until_later(&attempt, &reason);
            (provisioner, ()) = on_disk(provisioner, put_off).await;
            retry.later();
            return status.has_changed().is_ok().then_some(provisioner);
        }
        Err(LoginError::GivenUp(reason)) => reason.to_string(),
        Err(error @ (LoginError::Rejected(_) | LoginError::Invalid(_))) => {
            let reason = explain(&error, client.device_id());
            return Some(on_disk(provisioner, move |it| it.rejected(&attempt, &reason)).await.0);
        }
        Err(error) => error.to_string(),
    };
    (provisioner, ()) = on_disk(provisioner, move |it| it.put_off(&attempt, &reason)).await;
    status.has_changed().is_ok().then_some(provisioner)
}

/// Waits until the token is on disk; false if the token is forgotten before that.
async fn token_on_disk(status: &mut watch::Receiver<Status>) -> bool {
    loop {
        let (has_token, stored) = {
            let status = status.borrow_and_update();
            (status.token_expires_at.is_some(), status.stored)
        };
        match stored {
            _ if !has_token => return false,
            Stored::Yes => return true,
            Stored::Pending | Stored::Failed | _ => {}
        }
        if status.changed().await.is_err() {
            // A client stores its token before it ends.
            return has_token && status.borrow().stored == Stored::Yes;
        }
    }
}

async fn on_disk<T: Send + 'static>(
    mut provisioner: Provisioner,
    job: impl FnOnce(&mut Provisioner) -> T + Send + 'static,
) -> (Provisioner, T) {
    blocking(move || {
        let done = job(&mut provisioner);
        (provisioner, done)
    })
    .await
}

// They need a cloud.
#[cfg(test)]
#[cfg(not(fedecks_emulated))]
mod tests;
